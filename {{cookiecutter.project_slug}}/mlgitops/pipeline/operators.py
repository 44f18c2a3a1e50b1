"""What a model file may hold: operators that are deterministic, and work row by row.

A file is data until it was read here; the runtime sees it only after that. The list
holds what the converters of scikit-learn, XGBoost, LightGBM and CatBoost and features
in array-API style produce, and the layers of pretrained networks. It has no operator of
chance (RandomUniformLike), none for training (Dropout), none that scales by its batch
(DynamicQuantizeLinear), and no Loop or If. Scan runs as often as a tensor has rows.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import ModelProto

OPSETS = {"": (9, 24), "ai.onnx": (9, 24), "ai.onnx.ml": (1, 5)}  # oldest and newest
ML = "ai.onnx.ml"
ALLOWED = {
    "": frozenset(
        """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BitShift BitwiseAnd
        BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat
        Constant ConstantOfShape Cos Cosh CumSum Div Einsum Elu Equal Erf Exp Expand
        EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater
        GreaterOrEqual HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Less
        LessOrEqual Log LogSoftmax LpNormalization MatMul Max Mean Min Mish Mod Mul Neg
        NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2
        ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare RegexFullMatch Relu Reshape Round Scan ScatterElements ScatterND
        Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt
        Squeeze StringConcat StringNormalizer StringSplit Sub Sum Tan Tanh
        TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
        AveragePool BatchNormalization Conv ConvInteger DequantizeLinear GRU
        GlobalAveragePool GlobalMaxPool GroupNormalization InstanceNormalization LSTM
        LayerNormalization MatMulInteger MaxPool QuantizeLinear RNN
        """.split()
    ),
    ML: frozenset(
        """
        ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer
        LabelEncoder LinearClassifier LinearRegressor Normalizer OneHotEncoder
        SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
        TreeEnsembleRegressor
        """.split()
    ),
}
ALLOWED["ai.onnx"] = ALLOWED[""]


def read(data: bytes) -> "ModelProto":
    """Return the model, once it is known to be one file of ONNX's own operators.

    Raises:
        ValueError: with one sentence.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model: ModelProto = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise ValueError("the model is not an ONNX file, or is cut short") from error
    if not model.HasField("graph"):
        raise ValueError("the model is not an ONNX file: it holds no graph")
    for part in parts(model):
        if isinstance(part, onnx.TensorProto) and (
            part.external_data or part.data_location != onnx.TensorProto.DEFAULT
        ):
            raise ValueError("the model reads external data: export it as one file")
        if isinstance(part, onnx.NodeProto | onnx.OperatorSetIdProto):
            if part.domain not in OPSETS:
                raise ValueError("the model uses operators that are not ONNX's own")
    return model


def check(model: "ModelProto") -> None:
    """Refuse an operator or an opset that is not on the list.

    Raises:
        ValueError: with one sentence.
    """
    import onnx

    if model.functions or model.training_info:
        raise ValueError("the model defines functions or training of its own")
    for opset in model.opset_import:
        oldest, newest = OPSETS[opset.domain]
        if not oldest <= opset.version <= newest:
            raise ValueError(
                f"the model uses opset {opset.version} of {opset.domain or 'ai.onnx'}; "
                f"allowed are {oldest} to {newest}"
            )
    for part in parts(model):
        if isinstance(part, onnx.NodeProto):
            if part.op_type not in ALLOWED[part.domain]:
                raise ValueError(
                    f"the model uses the operator {part.op_type[:60]}, which is not on "
                    "the list of those that are deterministic and end: choose another "
                    "estimator or feature"
                )


def parts(message: "Message") -> Iterator["Message"]:
    """Yield a protobuf message and every message in it, at any depth."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) else [value]:
                yield from parts(part)
