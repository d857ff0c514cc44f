"""Conversion of fitted models to ONNX by skl2onnx."""

from typing import Any

from ._estimator import MiniBatchRidgeSGD
from ._estimator_cv import MiniBatchRidgeSGDCV


def register_onnx_converter() -> None:
    """Register the converter of this package's estimators with skl2onnx.

    skl2onnx can then convert :class:`MiniBatchRidgeSGD` and :class:`MiniBatchRidgeSGDCV`, alone
    and inside pipelines. Call this function once, before ``skl2onnx.to_onnx`` or
    ``skl2onnx.convert_sklearn``. It needs the extra ``[onnx]``:
    ``pip install 'sklearn-minibatch[onnx]'``. The graph has one output of shape
    (n_samples, n_targets) and of the type of the input (float for integers). It subtracts the
    means of the columns first, so that columns far from zero lose no precision.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> from sklearn_minibatch import register_onnx_converter
    >>> register_onnx_converter()  # doctest: +SKIP
    >>> onnx_model = skl2onnx.to_onnx(model, X[:1])  # doctest: +SKIP
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
    except ImportError as error:
        raise ImportError(
            "register_onnx_converter needs skl2onnx: pip install 'sklearn-minibatch[onnx]'"
        ) from error
    for model in (MiniBatchRidgeSGD, MiniBatchRidgeSGDCV):
        update_registered_converter(
            model, f"Sklearn{model.__name__}", calculate_linear_regressor_output_shapes, convert
        )


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of y = (x - mean) coef' + (intercept + mean coef') to the graph."""
    from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxCast, OnnxMatMul, OnnxSub
    from skl2onnx.common.data_types import guess_numpy_type, guess_proto_type

    model = operator.raw_operator
    x = operator.inputs[0]
    version = container.target_opset
    output = operator.outputs[0]
    dtype = guess_numpy_type(output.type)
    coef, intercept = model._solved("coef_").answer.predicting
    # The graph subtracts the rounded mean, so the constant is computed from that mean.
    mean = model.scaler_.mean_.astype(dtype)
    constant = intercept + mean.astype(float) @ coef
    if type(x.type) is not type(output.type):
        x = OnnxCast(x, to=guess_proto_type(output.type), op_version=version)
    centred = OnnxSub(x, mean, op_version=version)
    product = OnnxMatMul(centred, coef.astype(dtype), op_version=version)
    OnnxAdd(product, constant.astype(dtype), op_version=version, output_names=[output]).add_to(
        scope, container
    )
