/** Writes ONNX files: the few messages of the ONNX format that a small classifier needs. Knows no weights. */

import protobuf from 'protobufjs'

// Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 8, operator set 13).
const schema = `
syntax = "proto3";
message Model { int64 ir_version = 1; string producer_name = 2; Graph graph = 7; repeated OperatorSet opset_import = 8; }
message OperatorSet { string domain = 1; int64 version = 2; }
message Graph { repeated Node node = 1; string name = 2; repeated Tensor initializer = 5; repeated Value input = 11; repeated Value output = 12; }
message Node { repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4; repeated Attribute attribute = 5; }
message Attribute { string name = 1; int64 i = 3; int32 type = 20; }
message Tensor { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
message Value { string name = 1; Type type = 2; }
message Type { TensorType tensor_type = 1; }
message TensorType { int32 elem_type = 1; Shape shape = 2; }
message Shape { repeated Dimension dim = 1; }
message Dimension { int64 dim_value = 1; string dim_param = 2; }
`

const FLOAT = 1
const INT64 = 7
const INT_ATTRIBUTE = 2

/** One operator of the graph, fed by and feeding values by name. */
export interface OnnxNode {
  op: string
  inputs: string[]
  output: string
  /** Whole-number attributes. */
  attributes?: Record<string, number>
}

/** A dimension given as text is variable. */
export interface OnnxValue {
  name: string
  type: 'float' | 'int64'
  shape: Array<number | string>
}

export interface OnnxGraph {
  name: string
  nodes: OnnxNode[]
  /** FP32 constants, row-major. */
  constants: Array<{ name: string; shape: number[]; data: readonly number[] }>
  inputs: OnnxValue[]
  outputs: OnnxValue[]
}

/** The bytes of a `.onnx` file. */
export function encodeOnnx({ name, nodes, constants, inputs, outputs }: OnnxGraph): Uint8Array {
  const Model = protobuf.parse(schema, { keepCase: true }).root.lookupType('Model')
  const graph = {
    name,
    node: nodes.map(({ op, inputs: input, output, attributes = {} }) => ({
      name: output,
      op_type: op,
      input,
      output: [output],
      attribute: Object.entries(attributes).map(([key, i]) => ({ name: key, i, type: INT_ATTRIBUTE })),
    })),
    initializer: constants.map(({ name: constant, shape, data }) => ({
      name: constant,
      dims: shape,
      data_type: FLOAT,
      raw_data: new Uint8Array(Float32Array.from(data).buffer),
    })),
    input: inputs.map(encodeValue),
    output: outputs.map(encodeValue),
  }
  const model = { ir_version: 8, producer_name: 'perdure-example', opset_import: [{ version: 13 }], graph }
  return Model.encode(Model.fromObject(model)).finish()
}

function encodeValue({ name, type, shape }: OnnxValue) {
  const dim = shape.map((size) => (typeof size === 'string' ? { dim_param: size } : { dim_value: size }))
  return { name, type: { tensor_type: { elem_type: type === 'float' ? FLOAT : INT64, shape: { dim } } } }
}
