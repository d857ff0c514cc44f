"""Conversion of fitted models to ONNX by skl2onnx."""

from typing import Any

import numpy as np

from ._estimator import MiniBatchRidgeSGD
from ._estimator_cv import MiniBatchRidgeSGDCV
from ._linear_model import Floats
from ._statistics.arrays import to_numpy


def register_onnx_converter() -> None:
    """Register the converter of this package's estimators with skl2onnx.

    skl2onnx can then convert :class:`MiniBatchRidgeSGD` and :class:`MiniBatchRidgeSGDCV`, alone
    and inside pipelines, searches and ensembles. Call this function once, before
    ``skl2onnx.to_onnx`` or ``skl2onnx.convert_sklearn``; otherwise these raise
    ``MissingShapeCalculator``, or a ``KeyError`` that names the class if it is inside a search or
    an ensemble. It needs the extra ``[onnx]``: ``pip install 'sklearn-minibatch[onnx]'``.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Notes
    -----
    The graph computes in double precision, whatever the type of its input, and first subtracts the
    means of the features. It takes float32, float64, booleans, int64, int32, int8 and uint8. Its
    output of shape (n_samples, n_targets) is float64 for float64 input and float32 for all others,
    as skl2onnx requires. So the following digits are lost, compared with ``predict``:

    - of predictions with more than 7 digits, those beyond the seventh, unless the input is float64;
    - of integers beyond 2**53, those that ``predict`` loses as well;
    - in a pipeline, those that earlier steps lose: skl2onnx has scalers and transformers compute
      with integers in float32.

    Declare the input as ``DoubleTensorType`` if these digits matter.

    Examples
    --------
    >>> from sklearn_minibatch import register_onnx_converter
    >>> register_onnx_converter()  # doctest: +SKIP
    >>> onnx_model = skl2onnx.to_onnx(model, X[:1])  # doctest: +SKIP
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "register_onnx_converter needs skl2onnx: pip install 'sklearn-minibatch[onnx]'"
        ) from error
    for model in (MiniBatchRidgeSGD, MiniBatchRidgeSGDCV):
        update_registered_converter(model, f"Sklearn{model.__name__}", set_output_type, convert)


def set_output_type(operator: Any) -> None:
    """Set the type and shape of the output: double for double rows, float for other numbers."""
    from skl2onnx.common import data_types, utils

    numbers = ("Double", "Float", "Boolean", "Int64", "Int32", "Int8", "UInt8")
    double, single, *others = (getattr(data_types, f"{name}TensorType") for name in numbers)
    utils.check_input_and_output_numbers(operator, input_count_range=1, output_count_range=1)
    utils.check_input_and_output_types(operator, good_input_types=[double, single, *others])
    x = operator.inputs[0]
    n_targets = coefficients(operator.raw_operator).shape[1]
    output = double if isinstance(x.type, double) else single
    operator.outputs[0].set_type(output([x.get_first_dimension(), n_targets]))


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of y = (x - mean) coef' + (intercept + mean coef') to the graph."""
    from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxCast, OnnxMatMul, OnnxSub
    from skl2onnx.common.data_types import DoubleTensorType, guess_proto_type

    model = operator.raw_operator
    opset = container.target_opset
    output = operator.outputs[0]
    coef = coefficients(model)
    mean = model.scaler_.mean_
    intercept = model.intercept_ if model.coef_.ndim == 1 else to_numpy(model.intercept_)
    x = OnnxCast(operator.inputs[0], to=guess_proto_type(DoubleTensorType()), op_version=opset)
    centred = OnnxSub(x, mean, op_version=opset)
    product = OnnxMatMul(centred, coef, op_version=opset)
    predictions = OnnxAdd(product, intercept + mean @ coef, op_version=opset)
    to = guess_proto_type(output.type)
    OnnxCast(predictions, to=to, op_version=opset, output_names=[output]).add_to(scope, container)


def coefficients(model: Any) -> Floats:
    """Return the coefficients (n_features, n_targets) as a NumPy array."""
    return np.atleast_2d(to_numpy(model.coef_)).T.astype(float)
