"""What is read of TensorFlow Lite's file format, version 3: tables, operators, types.

Field for field tensorflow/lite/schema/schema.fbs, up to the last field that is read; a test holds it against the schema
that TensorFlow ships. OPTIONS lists every field of its tables: a newer one makes an operation unsupported.
"""

from __future__ import annotations

from pipeline.importers import flatbuffer

IDENTIFIER = b"TFL3"
VERSION = 3

TABLES = flatbuffer.schema("""
Model: version:I operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string buffers:[Buffer]
OperatorCode: deprecated_builtin_code:b custom_code:string version:i=1 builtin_code:i
SubGraph: tensors:[Tensor] inputs:[i] outputs:[i] operators:[Operator] name:string
Buffer: data:[B] offset:Q size:Q
Tensor: shape:[i] type:b buffer:I name:string quantization:QuantizationParameters is_variable:? sparsity:union
    shape_signature:[i] has_rank:? variant_tensors:union external_buffer:I
QuantizationParameters: min:[f] max:[f] scale:[f] zero_point:[q] details_type:B details:union quantized_dimension:i
Operator: opcode_index:I inputs:[i] outputs:[i] builtin_options_type:B builtin_options:union
Conv2DOptions: padding:b stride_w:i stride_h:i fused_activation_function:b dilation_w_factor:i=1 dilation_h_factor:i=1
    quantized_bias_type:b
DepthwiseConv2DOptions: padding:b stride_w:i stride_h:i depth_multiplier:i fused_activation_function:b
    dilation_w_factor:i=1 dilation_h_factor:i=1
Pool2DOptions: padding:b stride_w:i stride_h:i filter_width:i filter_height:i fused_activation_function:b
FullyConnectedOptions: fused_activation_function:b weights_format:b keep_num_dims:? asymmetric_quantize_inputs:?
    quantized_bias_type:b
SoftmaxOptions: beta:f
ConcatenationOptions: axis:i fused_activation_function:b
AddOptions: fused_activation_function:b pot_scale_int16:?=1
ReshapeOptions: new_shape:[i]
PadOptions:
SqueezeOptions: squeeze_dims:[i]
ReducerOptions: keep_dims:?
QuantizeOptions:
ShapeOptions: out_type:b
StridedSliceOptions: begin_mask:i end_mask:i ellipsis_mask:i new_axis_mask:i shrink_axis_mask:i offset:?
PackOptions: values_count:i axis:i
""")

OPTIONS = {
    "Conv2DOptions": 1,
    "DepthwiseConv2DOptions": 2,
    "Pool2DOptions": 5,
    "FullyConnectedOptions": 8,
    "SoftmaxOptions": 9,
    "ConcatenationOptions": 10,
    "AddOptions": 11,
    "ReshapeOptions": 17,
    "PadOptions": 22,
    "ReducerOptions": 27,
    "SqueezeOptions": 30,
    "StridedSliceOptions": 32,
    "ShapeOptions": 55,
    "PackOptions": 59,
    "QuantizeOptions": 89,
}
"""Numbers of the union BuiltinOptions."""

PADDING = ("same", "valid")
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
TYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
)  # fmt: skip

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN
GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM
STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM
CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN
TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN
FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE
MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG
QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND
SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
OPERATORS = tuple(_NAMES.split())
"""Names of the built-in operators by number; those of StableHLO, which follow, have none here."""
