/** Tensors of the Open Inference Protocol: what requests are taken and refused, and how answers are written. */
import { describe, expect, test } from 'vitest'
import { parseJson } from '../contracts/json.ts'
import { InferenceError, InvalidInput } from '../modelserver/errors.ts'
import {
  cutRows,
  type Datatype,
  decodeInferBody,
  decodeInferValue,
  encodeAnswer,
  type InferRequest,
  joinRows,
  readOutputs,
  snapshotTensor,
  type Tensor,
  type TensorSpec,
} from '../modelserver/tensors/index.ts'

const utf8 = new TextEncoder()
const tensorX = { name: 'x', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4] }

function decodeText(text: string): InferRequest {
  return decodeInferBody({ bytes: utf8.encode(text), contentType: 'application/json' })
}

function decodeJson(value: unknown): InferRequest {
  return decodeText(JSON.stringify(value))
}

function oneInput(members: object): InferRequest {
  return decodeJson({ inputs: [{ ...tensorX, ...members }] })
}

function refusal(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidInput)
    return error instanceof Error ? error.message : ''
  }
  throw new Error('nothing was refused')
}

function withTails(json: object, hex: string, headerLength?: string): InferRequest {
  const header = utf8.encode(JSON.stringify(json))
  const bytes = Buffer.concat([header, Buffer.from(hex, 'hex')])
  return decodeInferBody({ bytes, headerLength: headerLength ?? String(header.length) })
}

function answerText(tensor: Tensor, request: InferRequest = { inputs: [] }): string {
  return String(encodeAnswer({ model_name: 'm', outputs: [tensor] }, request).body)
}

describe('a JSON request', () => {
  test.each<[string, unknown, string]>([
    ['no inputs', {}, 'Expected key "inputs" in request body'],
    ['inputs no list', { inputs: 5 }, 'Expected "inputs" to be a list'],
    ['inputs null', { inputs: null }, 'Expected "inputs" to be a list'],
    ['inputs empty', { inputs: [] }, '"inputs" must hold at least one tensor'],
    ['an element that is a list', { inputs: [[1, 2]] }, 'inputs[0]: a tensor object is required'],
    ['an id that is a number', { id: 5, inputs: [tensorX] }, 'id must be a string'],
    ['parameters no object', { parameters: 5, inputs: [tensorX] }, 'parameters must be an object'],
    [
      'a parameter that is a list',
      { parameters: { a: [] }, inputs: [tensorX] },
      'parameter a must be a string, number or boolean',
    ],
    ['outputs no list', { outputs: {}, inputs: [tensorX] }, 'Expected "outputs" to be a list'],
    ['an output without name', { outputs: [{}], inputs: [tensorX] }, 'outputs[0]: name is required'],
    [
      'an output asked for twice',
      { outputs: [{ name: 'o' }, { name: 'o' }], inputs: [tensorX] },
      'outputs[1]: o is requested twice',
    ],
  ])('is refused with its reason: %s', (_what, body, reason) => {
    expect(refusal(() => decodeJson(body))).toBe(reason)
  })

  test.each<[string, object, string]>([
    ['no name', { name: undefined }, 'name is required'],
    ['no shape', { shape: undefined }, 'shape is required'],
    ['no datatype', { datatype: undefined }, 'datatype is required'],
    ['no data', { data: undefined }, 'data is required'],
    ['unknown datatype', { datatype: 'FP99' }, 'unknown datatype FP99'],
    ['datatype of the prototype', { datatype: 'toString' }, 'unknown datatype toString'],
    ['too few elements', { shape: [3, 2], data: [1, 2] }, 'shape [3,2] needs 6 elements, got 2'],
    ['too few, nested', { shape: [3, 2], data: [[1, 2]] }, 'shape [3,2] needs 6 elements, got 2'],
    ['nested otherwise', { data: [[1], [2, 3, 4]] }, 'data must be flat or nested exactly as shape [2,2]'],
    ['half nested', { data: [[1, 2], 3, 4] }, 'data must be flat or nested exactly as shape [2,2]'],
    ['nested too deep', { shape: [2], data: [[1], [2]] }, 'data must be flat or nested exactly as shape [2]'],
    ['a negative dimension', { shape: [-1, 2] }, 'shape must be a list of non-negative integers'],
    ['a fractional dimension', { shape: [1.5] }, 'shape must be a list of non-negative integers'],
    ['a shape of text', { shape: ['2'] }, 'shape must be a list of non-negative integers'],
    [
      'an enormous shape',
      { shape: [2 ** 52, 2 ** 52] },
      'shape [4503599627370496,4503599627370496] needs 2.028240960365167e+31 elements, got 4',
    ],
    ['data no list', { data: { length: 4 } }, 'data must be a list'],
    ['a string among floats', { data: [1, 2, '3', 4] }, 'data[2] does not fit FP32'],
    ['null among floats', { data: [null, 2, 3, 4] }, 'data[0] does not fit FP32'],
    ['true among floats', { data: [1, true, 3, 4] }, 'data[1] does not fit FP32'],
    ['a float beyond FP32', { data: [1e39, 2, 3, 4] }, 'data[0] does not fit FP32'],
    ['a float beyond FP16', { datatype: 'FP16', data: [1, 2, 3, 65520] }, 'data[3] does not fit FP16'],
    ['a fraction among integers', { datatype: 'INT32', data: [1, 2, 3, 0.5] }, 'data[3] does not fit INT32'],
    ['an integer out of range', { datatype: 'UINT8', data: [1, 2, 256, 4] }, 'data[2] does not fit UINT8'],
    ['a negative unsigned one', { datatype: 'UINT64', data: [1, 2, -1, 4] }, 'data[2] does not fit UINT64'],
    ['a number as BOOL', { datatype: 'BOOL', data: [true, false, 1, true] }, 'data[2] does not fit BOOL'],
    ['a number as BYTES', { datatype: 'BYTES', data: ['a', 'b', 'c', 4] }, 'data[3] does not fit BYTES'],
    ['half a character', { datatype: 'BYTES', data: ['\ud800', '', '', ''] }, 'data[0] does not fit BYTES'],
    ['BF16 as JSON', { datatype: 'BF16' }, 'BF16 exists in the binary form only'],
    [
      'data and a binary size',
      { parameters: { binary_data_size: 16 } },
      'data and binary_data_size exclude each other',
    ],
  ])('names the tensor that is wrong: %s', (_what, members, reason) => {
    expect(refusal(() => oneInput(members))).toBe(`inputs[0]: ${reason}`)
  })

  test.each<[string, string]>([
    ['text that is no JSON', '{not json'],
    ['nothing', ''],
    ['a number', '5'],
    ['NaN', '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}'],
    ['a hundred thousand open lists', '['.repeat(100_000)],
    ['a hundred thousand open objects', '{"a":'.repeat(100_000)],
  ])('that is not recognised says so: %s', (_what, text) => {
    expect(refusal(() => decodeText(text))).toMatch(/^Unrecognized request format, caused by: /)
  })

  test('is refused when its bytes are not UTF-8', () => {
    const bytes = Buffer.from('{"inputs":[{"name":"\xff"}]}', 'latin1')
    expect(refusal(() => decodeInferBody({ bytes }))).toMatch(/^Unrecognized request format/)
  })

  test.each<[string, Datatype, unknown[], unknown]>([
    ['FP32', 'FP32', [1, 2, 0.1, 7], new Float32Array([1, 2, 0.1, 7])],
    [
      'nested FP64',
      'FP64',
      [
        [1, 2],
        [3, 4],
      ],
      new Float64Array([1, 2, 3, 4]),
    ],
    ['FP16', 'FP16', [1, 2, 0.5, 65504], new Float16Array([1, 2, 0.5, 65504])],
    ['INT8', 'INT8', [-128, 127, 0, 1e1], new Int8Array([-128, 127, 0, 10])],
    ['UINT32', 'UINT32', [4294967295, 0, 1, 2], new Uint32Array([4294967295, 0, 1, 2])],
    ['INT64', 'INT64', [1, -2, 3, 4], new BigInt64Array([1n, -2n, 3n, 4n])],
    ['BOOL', 'BOOL', [true, false, true, true], [true, false, true, true]],
    ['BYTES', 'BYTES', ['a', 'ä', '', '"'], ['a', 'ä', '', '"']],
  ])('gives hooks flat arrays of the datatype: %s', (_what, datatype, data, expected) => {
    expect(oneInput({ datatype, data }).inputs[0]?.data).toEqual(expected)
  })

  test('takes scalars, empty tensors and members that are null', () => {
    expect(oneInput({ shape: [], data: 5 }).inputs[0]).toMatchObject({
      shape: [],
      data: new Float32Array([5]),
    })
    expect(oneInput({ shape: [], data: [5] }).inputs[0]?.data).toEqual(new Float32Array([5]))
    for (const data of [[], [[], []]]) {
      expect(oneInput({ shape: [2, 0], data }).inputs[0]?.data).toEqual(new Float32Array(0))
    }
    const request = decodeJson({
      id: null,
      parameters: null,
      outputs: null,
      inputs: [{ ...tensorX, parameters: null }],
    })
    expect(Object.keys(request)).toEqual(['inputs'])
  })

  test('keeps 64-bit integers digit for digit, beside text that looks like them', () => {
    const text = `{"id":"9007199254740993","parameters":{"n":12345678901234567},"inputs":[
      {"name":"say \\"9007199254740993\\" \\\\","shape":[2,3],"datatype":"INT64",
       "data":[[9007199254740993,-9223372036854775808,9223372036854775807],[9007199254740993000,9007199254740993.0,1e18]]},
      {"name":"b","shape":[2],"datatype":"UINT64","data":[18446744073709551615,900719925474099.3e1]},
      {"name":"c","shape":[1],"datatype":"BYTES","data":["9007199254740993"]},
      {"name":"d","shape":[1],"datatype":"FP64","data":[0.12345678901234567]}]}`
    const expected = {
      id: '9007199254740993',
      parameters: { n: 12345678901234568 },
      inputs: [
        {
          name: 'say "9007199254740993" \\',
          data: BigInt64Array.of(
            9007199254740993n,
            -9223372036854775808n,
            9223372036854775807n,
            9007199254740993000n,
            9007199254740993n,
            1000000000000000000n,
          ),
        },
        { data: BigUint64Array.of(18446744073709551615n, 9007199254740993n) },
        { data: ['9007199254740993'] },
        { data: Float64Array.of(0.12345678901234566) },
      ],
    }
    expect(decodeText(text)).toMatchObject(expected)
    expect(decodeInferValue(parseJson(text))).toMatchObject(expected)
  })

  test.each(['9223372036854775808', '1e19', '1e999', '9007199254740993.5', '1e999999999999'])(
    'refuses %s as INT64',
    (digits) => {
      const text = `{"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":[${digits}]}]}`
      expect(refusal(() => decodeText(text))).toBe('inputs[0]: data[0] does not fit INT64')
      expect(refusal(() => decodeInferValue(parseJson(text)))).toBe('inputs[0]: data[0] does not fit INT64')
    },
  )

  test('passes decoded tensors again unchanged', () => {
    const request = decodeJson({ id: '1', inputs: [tensorX], outputs: [{ name: 'o' }] })
    const again = decodeInferValue(request)
    expect(again).toEqual(request)
    expect(again.inputs[0]?.data).toBe(request.inputs[0]?.data)
  })
})

describe('a binary request', () => {
  const head = (members: object) => ({ name: 'x', shape: [2], datatype: 'FP32', ...members })
  const sized = (binary_data_size: unknown, members: object = {}) => ({
    inputs: [head({ parameters: { binary_data_size }, ...members })],
  })

  test.each<[Datatype, string, unknown]>([
    ['BOOL', '0100', [true, false]],
    ['UINT8', '01ff', Uint8Array.of(1, 255)],
    ['UINT16', '0100ffff', Uint16Array.of(1, 65535)],
    ['UINT32', '01000000ffffffff', Uint32Array.of(1, 4294967295)],
    ['UINT64', '0100000000000000ffffffffffffffff', BigUint64Array.of(1n, 2n ** 64n - 1n)],
    ['INT8', '01ff', Int8Array.of(1, -1)],
    ['INT16', '0100ffff', Int16Array.of(1, -1)],
    ['INT32', '01000000ffffffff', Int32Array.of(1, -1)],
    ['INT64', '0100000000000000ffffffffffffffff', BigInt64Array.of(1n, -1n)],
    ['FP16', '003c007e', Float16Array.of(1, Number.NaN)],
    ['FP32', '0000803f0000807f', Float32Array.of(1, Number.POSITIVE_INFINITY)],
    ['FP64', '000000000000f03f000000000000f0bf', Float64Array.of(1, -1)],
    ['BF16', '803f20c1', Float32Array.of(1, -10)],
    ['BYTES', '01000000ff00000000', [Uint8Array.of(255), Uint8Array.of()]],
  ])('carries %s little-endian', (datatype, hex, expected) => {
    const request = withTails(sized(hex.length / 2, { datatype }), hex)
    expect(request.inputs).toEqual([{ name: 'x', shape: [2], datatype, data: expected }])
  })

  test('mixes binary and JSON tensors in the order of those that are binary', () => {
    const inputs = [
      head({ name: 'a', parameters: { binary_data_size: 8, unit: 'm' } }),
      head({ name: 'b', data: [5, 6] }),
      head({ name: 'c', datatype: 'UINT8', parameters: { binary_data_size: 2 } }),
    ]
    const request = withTails({ inputs }, '0000803f000000400708')
    expect(request.inputs).toMatchObject([
      { parameters: { unit: 'm' }, data: Float32Array.of(1, 2) },
      { data: Float32Array.of(5, 6) },
      { data: Uint8Array.of(7, 8) },
    ])
  })

  test.each<[string, object, string, string]>([
    [
      'truncated',
      sized(8),
      '0000803f',
      'inputs[0]: binary_data_size 8 is more than the 4 bytes left in the body',
    ],
    ['left over', sized(8), '0000803f0000803fff', 'the body has 1 bytes behind the last tensor'],
    ['other than the shape', sized(4), '0000803f', 'inputs[0]: shape [2] needs 8 bytes of FP32, got 4'],
    ['broken elements', sized(3), 'ffffff', 'inputs[0]: binary_data_size 3 does not match shape [2] of FP32'],
    ['negative', sized(-1), '', 'inputs[0]: binary_data_size must be a number of bytes'],
    ['text', sized('8'), '0000803f0000803f', 'inputs[0]: binary_data_size must be a number of bytes'],
    ['a bad truth', sized(2, { datatype: 'BOOL' }), '0102', 'inputs[0]: data[1] does not fit BOOL'],
    [
      'an enormous shape',
      sized(8, { shape: [2 ** 50, 2 ** 50] }),
      '0000803f0000803f',
      'inputs[0]: shape [1125899906842624,1125899906842624] needs 5.070602400912918e+30 bytes of FP32, got 8',
    ],
    [
      'an enormous number of texts',
      sized(4, { shape: [2 ** 50], datatype: 'BYTES' }),
      '00000000',
      'inputs[0]: shape [1125899906842624] needs 1125899906842624 elements, 4 bytes cannot hold them',
    ],
    [
      'a text longer than the body',
      sized(8, { datatype: 'BYTES' }),
      'ffffffff00000000',
      'inputs[0]: data[0] ends behind the bytes of its tensor',
    ],
    [
      'too few texts',
      sized(8, { datatype: 'BYTES' }),
      '0400000061626364',
      'inputs[0]: shape [2] needs 2 elements, the bytes end after 1',
    ],
    [
      'too many texts',
      sized(8, { datatype: 'BYTES', shape: [1] }),
      '0000000000000000',
      'inputs[0]: shape [1] needs 1 elements, 4 bytes are left over',
    ],
  ])('is refused when its sizes disagree: %s', (_what, json, hex, reason) => {
    expect(refusal(() => withTails(json, hex))).toBe(reason)
  })

  test.each(['x', '', '-1', '1e2', '5.0', '999999', '99999999999999999999'])(
    'is refused with header %j',
    (headerLength) => {
      expect(refusal(() => withTails({ inputs: [tensorX] }, '', headerLength))).toMatch(
        /^Inference-Header-Content-Length must be a number up to the \d+ bytes of the body$/,
      )
    },
  )

  test('is refused without the header', () => {
    const body = {
      bytes: utf8.encode(JSON.stringify({ inputs: [tensorX] })),
      contentType: 'application/octet-stream',
    }
    expect(refusal(() => decodeInferBody(body))).toBe(
      "received byte inputs, but the 'Inference-Header-Content-Length' header is missing",
    )
  })

  test('holds at most a million texts, whose views would fill the memory', () => {
    const shape = [(1 << 20) + 1]
    const size = shape[0]! * 4
    expect(refusal(() => withTails(sized(size, { shape, datatype: 'BYTES' }), '00'.repeat(size)))).toBe(
      'inputs[0]: a binary BYTES tensor holds at most 1048576 elements',
    )
  })
})

describe('a body of raw data', () => {
  const raw = (hex: string, ...declared: TensorSpec[]) =>
    decodeInferBody({ bytes: Buffer.from(hex, 'hex'), headerLength: '0' }, declared)

  test('is the one declared input, its variable dimension counted, all outputs binary', () => {
    expect(raw('0000803f00000040', { name: 'x', datatype: 'FP32', shape: [-1, 2] })).toEqual({
      parameters: { binary_data_output: true },
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(1, 2) }],
    })
    expect(raw('616263', { name: 't', datatype: 'BYTES', shape: [-1] }).inputs).toEqual([
      { name: 't', datatype: 'BYTES', shape: [1], data: [Uint8Array.of(97, 98, 99)] },
    ])
  })

  test.each<[string, string, TensorSpec[], string]>([
    [
      'none declared',
      '00',
      [],
      'a body without JSON header needs a model with one declared input, this one has 0',
    ],
    [
      'two variable dimensions',
      '00',
      [{ name: 'x', datatype: 'UINT8', shape: [-1, -1] }],
      'inputs[0]: shape [-1,-1] has more than one variable dimension',
    ],
    [
      'a row cut short',
      '000000',
      [{ name: 'x', datatype: 'UINT8', shape: [-1, 2] }],
      'inputs[0]: 3 bytes do not fill shape [-1,2] of UINT8',
    ],
    [
      'a fixed shape missed',
      '000000',
      [{ name: 'x', datatype: 'UINT8', shape: [2] }],
      'inputs[0]: shape [2] needs 2 bytes of UINT8, got 3',
    ],
    [
      'rows without size',
      '00',
      [{ name: 'x', datatype: 'UINT8', shape: [-1, 0] }],
      'inputs[0]: shape [0,0] needs 0 bytes of UINT8, got 1',
    ],
  ])('is refused when it cannot be that input: %s', (_what, hex, declared, reason) => {
    expect(refusal(() => raw(hex, ...declared))).toBe(reason)
  })
})

describe('what predict returned', () => {
  const request: InferRequest = { inputs: [] }
  const a = { name: 'a', shape: [2], datatype: 'FP32', data: [6, 14] }
  const b = { name: 'b', shape: [1], datatype: 'INT64', data: [2 ** 40] }
  const specs: TensorSpec[] = [
    { name: 'a', datatype: 'FP32', shape: [-1] },
    { name: 'b', datatype: 'INT64', shape: [1] },
  ]

  test('is taken as a list or with parameters, selected and ordered as asked', () => {
    expect(readOutputs([a, b], request).outputs.map(({ name }) => name)).toEqual(['a', 'b'])
    const asked: InferRequest = { inputs: [], outputs: [{ name: 'b' }, { name: 'a' }] }
    expect(readOutputs({ outputs: [a, b], parameters: { k: 1 } }, asked, specs)).toEqual({
      parameters: { k: 1 },
      outputs: [
        { ...b, data: BigInt64Array.of(2n ** 40n) },
        { ...a, data: Float32Array.of(6, 14) },
      ],
    })
  })

  test.each<[string, unknown, TensorSpec[], string]>([
    ['no list', 5, [], 'predict must return a list of tensors, or {outputs, parameters}'],
    ['nothing', undefined, [], 'predict must return a list of tensors, or {outputs, parameters}'],
    ['no tensor', [null], [], 'outputs[0]: a tensor object is required'],
    ['wrong count', [{ ...a, shape: [3] }], [], 'outputs[0]: shape [3] needs 3 elements, got 2'],
    [
      'wrong element',
      [{ ...a, datatype: 'INT8', data: [1, 300] }],
      [],
      'outputs[0]: data[1] does not fit INT8',
    ],
    ['an overflow', [{ ...a, data: [1, 1e300] }], [], 'outputs[0]: data[1] does not fit FP32'],
    [
      'other datatype',
      [{ ...a, datatype: 'FP64' }, b],
      specs,
      'output a: FP64 [2] is not the declared FP32 [-1]',
    ],
    ['other rank', [{ ...a, shape: [1, 2] }, b], specs, 'output a: FP32 [1,2] is not the declared FP32 [-1]'],
    ['one missing', [a], specs, 'predict did not return the declared output b'],
  ])('is a 500 when it does not fit: %s', (_what, result, declared, reason) => {
    expect(() => readOutputs(result, request, declared)).toThrow(new InferenceError(reason))
  })

  test('lacks an output that was asked for: 400', () => {
    const asked: InferRequest = { inputs: [], outputs: [{ name: 'zzz' }] }
    expect(refusal(() => readOutputs([a], asked))).toBe('unknown output zzz')
  })
})

describe('an answer', () => {
  test.each<[Datatype, unknown[], string]>([
    ['BOOL', [true, false], '[true,false]'],
    ['UINT8', [0, 255], '[0,255]'],
    ['INT64', [-(2n ** 63n), 2n ** 53n + 1n], '[-9223372036854775808,9007199254740993]'],
    ['UINT64', [2n ** 64n - 1n, 0], '[18446744073709551615,0]'],
    ['FP16', [0.1, 65504], '[0.1,65504]'],
    ['FP32', [0.1, 16777217], '[0.1,16777216]'],
    ['FP32', [-0, 1e-45], '[-0.0,1e-45]'],
    ['FP32', [3.4028234663852886e38, 1.17549435e-38], '[3.4028235e+38,1.1754944e-38]'],
    ['FP32', [2 ** -24, 9.5367431640625e-7], '[5.9604645e-8,9.536743e-7]'],
    ['FP64', [0.1, 5e-324], '[0.1,5e-324]'],
    ['BYTES', ['a"', 'ä'], '["a\\"","ä"]'],
    ['BYTES', [Uint8Array.of(0xc3, 0xa4), Uint8Array.of()], '["ä",""]'],
  ])('writes %s digit for digit (case %$)', (datatype, data, text) => {
    const { outputs } = readOutputs([{ name: 'o', shape: [2], datatype, data }], { inputs: [] })
    expect(answerText(outputs[0]!)).toBe(
      `{"model_name":"m","outputs":[{"name":"o","shape":[2],"datatype":"${datatype}","data":${text}}]}`,
    )
  })

  test.each<[Datatype, Tensor['data'], string]>([
    ['FP32', Float32Array.of(Number.NaN), 'data[0] is NaN, which JSON cannot carry'],
    ['FP64', Float64Array.of(Number.NEGATIVE_INFINITY), 'data[0] is -Infinity, which JSON cannot carry'],
    ['FP16', Float16Array.of(Number.POSITIVE_INFINITY), 'data[0] is Infinity, which JSON cannot carry'],
    ['BYTES', [Uint8Array.of(0xff)], 'data[0] is not UTF-8, which JSON cannot carry'],
    ['BF16', Float32Array.of(1), 'BF16 has no JSON form'],
  ])('names the binary form where JSON cannot say it: %s', (datatype, data, reason) => {
    expect(() => answerText({ name: 'o', shape: [1], datatype, data })).toThrow(
      new InferenceError(`outputs[0]: ${reason}, ask for the binary form (binary_data)`),
    )
  })

  test('writes the members of the envelope, leaving out those that are undefined', () => {
    const { body } = encodeAnswer(
      { model_name: 'm', id: '4"2', model_version: undefined!, extra: { n: 1 }, outputs: [] },
      { inputs: [] },
    )
    expect(body).toBe('{"model_name":"m","id":"4\\"2","extra":{"n":1},"outputs":[]}')
  })

  const o: Tensor = { name: 'o', shape: [2], datatype: 'FP32', data: Float32Array.of(3.5, 3.515625) }
  const p: Tensor = { name: 'p', shape: [1], datatype: 'UINT8', data: Uint8Array.of(7) }

  test.each<[string, Omit<InferRequest, 'inputs'>, string[]]>([
    [
      'asked for by name',
      { outputs: [{ name: 'o', parameters: { binary_data: true } }, { name: 'p' }] },
      ['o'],
    ],
    ['asked for all', { parameters: { binary_data_output: true } }, ['o', 'p']],
    [
      'asked for all but one',
      {
        parameters: { binary_data_output: true },
        outputs: [{ name: 'o', parameters: { binary_data: false } }, { name: 'p' }],
      },
      ['p'],
    ],
    ['not asked for', { outputs: [{ name: 'o' }, { name: 'p' }] }, []],
  ])('is binary where it is %s', (_what, asked, binary) => {
    const answer = encodeAnswer({ model_name: 'm', outputs: [o, p] }, { inputs: [], ...asked })
    const bytes = Buffer.from(answer.body)
    const json = JSON.parse(bytes.subarray(0, answer.headerLength).toString())
    const isBinary = (output: Record<string, unknown>) => !('data' in output)
    expect(json.outputs.filter(isBinary).map((output: Tensor) => output.name)).toEqual(binary)
    const tails = { o: '0000604000006140', p: '07' }
    const tail = binary.map((name) => tails[name === 'o' ? 'o' : 'p']).join('')
    expect(bytes.subarray(answer.headerLength ?? bytes.length).toString('hex')).toBe(tail)
    expect(answer.contentType).toBe(binary.length > 0 ? 'application/octet-stream' : 'application/json')
  })
})

describe('rows of a batch', () => {
  test.each<[Datatype, Tensor['data'], Tensor['data']]>([
    ['FP32', Float32Array.of(1, 2), Float32Array.of(3, 4, 5, 6)],
    ['INT64', BigInt64Array.of(1n, 2n), BigInt64Array.of(3n, 4n, 5n, 6n)],
    ['BOOL', [true, false], [false, false, true, true]],
    ['BYTES', ['a', 'b'], ['c', 'd', 'e', 'f']],
  ])('are joined and cut again: %s', (datatype, one, two) => {
    const first: Tensor = { name: 'x', shape: [1, 2], datatype, data: one }
    const second: Tensor = { name: 'x', shape: [2, 2], datatype, data: two }
    const joined = joinRows([first, second])
    expect(joined.shape).toEqual([3, 2])
    expect(cutRows(joined, [1, 2])).toEqual([first, second])
    expect(cutRows(joined, [1, 1])).toBeUndefined()
  })

  test('join texts with bytes as bytes', () => {
    const shape = [1]
    const text: Tensor = { name: 'x', shape, datatype: 'BYTES', data: ['a'] }
    const bytes: Tensor = { name: 'x', shape, datatype: 'BYTES', data: [Uint8Array.of(255)] }
    expect(joinRows([text, bytes]).data).toEqual([Uint8Array.of(97), Uint8Array.of(255)])
  })
})

test('a snapshot can be written as JSON, whatever the tensor holds', () => {
  const data = BigInt64Array.of(5n, 2n ** 53n + 1n)
  const shot = snapshotTensor({ name: 'x', shape: [2], datatype: 'INT64', data })
  data[0] = 6n
  expect(JSON.stringify(shot)).toBe('{"name":"x","datatype":"INT64","shape":[2],"data":[5,9007199254740993]}')
  const floats = snapshotTensor({
    name: 'x',
    shape: [1],
    datatype: 'FP32',
    data: Float32Array.of(Number.NaN),
  })
  expect(floats.data).toEqual([null])
})
