/** Random bodies against the tensor decoder: only its specified refusal, bounded memory, and lossless round trips. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseJson } from '../contracts/json.ts'
import { InvalidInput } from '../modelserver/errors.ts'
import {
  byteSize,
  type Datatype,
  decodeInferBody,
  decodeInferValue,
  encodeAnswer,
  type InferBody,
  isDatatype,
  readOutputs,
  type Tensor,
  type TensorSpec,
} from '../modelserver/tensors/index.ts'

const datatypes = Object.keys(byteSize).filter(isDatatype)
const declared: TensorSpec[] = [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }]
const utf8 = new TextEncoder()

/** Whatever comes: a request or the one refusal, and never much more memory than the body has. */
function survives(body: InferBody): void {
  const before = process.memoryUsage()
  try {
    const { inputs } = decodeInferBody(body, declared)
    for (const { shape, data } of inputs)
      expect(data.length).toBe(shape.reduce((count, size) => count * size, 1))
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidInput)
  }
  const after = process.memoryUsage()
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers
  expect(grown).toBeLessThan(16_000_000 + body.bytes.length * 100)
}

const enormous = fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e300, -1, 0.5)
const dimension: fc.Arbitrary<unknown> = fc.oneof(fc.nat(4), enormous, fc.anything())
const element: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(2 ** 53, 2 ** 63, 1e19, 1e300),
  fc.boolean(),
  fc.string(),
  fc.constant(null),
)
const nested = fc.letrec((tie) => ({
  data: fc.oneof({ maxDepth: 4 }, element, fc.array(tie('data'), { maxLength: 4 })),
})).data
const strangeTensor = fc.record(
  {
    name: fc.oneof(fc.string(), fc.anything()),
    shape: fc.oneof(fc.array(dimension, { maxLength: 5 }), fc.anything()),
    datatype: fc.oneof(fc.constantFrom(...datatypes), fc.string(), fc.anything()),
    data: fc.oneof(fc.array(element, { maxLength: 8 }), nested, fc.anything()),
    parameters: fc.oneof(
      fc.record({ binary_data_size: fc.oneof(fc.nat(40), enormous, fc.anything()) }),
      fc.anything(),
    ),
  },
  { requiredKeys: [] },
)
const strangeRequest = fc.record(
  {
    id: fc.oneof(fc.string(), fc.anything()),
    inputs: fc.oneof(fc.array(fc.oneof(strangeTensor, fc.anything()), { maxLength: 3 }), fc.anything()),
    outputs: fc.oneof(fc.array(fc.record({ name: fc.string() })), fc.anything()),
    parameters: fc.anything(),
  },
  { requiredKeys: ['inputs'] },
)

function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, member) => (typeof member === 'bigint' ? String(member) : member)) ?? ''
}

describe('the decoder never throws anything but its refusal', () => {
  test('for any bytes and any header', () => {
    const header = fc.option(fc.oneof(fc.nat(300).map(String), fc.string()), { nil: undefined })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), header, (bytes, headerLength) =>
        survives({ bytes, headerLength }),
      ),
      { numRuns: 500 },
    )
  })

  test('for any JSON that resembles a request, with and without raw bytes behind it', () => {
    fc.assert(
      fc.property(strangeRequest, fc.uint8Array({ maxLength: 60 }), fc.boolean(), (request, tail, binary) => {
        const json = utf8.encode(textOf(request))
        const bytes = binary ? Buffer.concat([json, tail]) : json
        survives(binary ? { bytes, headerLength: String(json.length) } : { bytes })
      }),
      { numRuns: 1_500 },
    )
  })

  test('for valid requests with a few bytes changed', () => {
    const shape = [2, 2]
    const good = utf8.encode(
      textOf({
        id: '1',
        inputs: datatypes.map((datatype) => ({ name: 'x', shape, datatype, data: [1, 0, 1, 0] })),
      }),
    )
    const change = fc.tuple(fc.nat(good.length - 1), fc.nat(255))
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = new Uint8Array(good)
        for (const [at, byte] of changes) bytes[at] = byte
        survives({ bytes })
      }),
      { numRuns: 500 },
    )
  })

  test('for values that something else parsed', () => {
    fc.assert(
      fc.property(strangeRequest, (request) => {
        for (const value of [request, parseJson(textOf(request))]) {
          try {
            decodeInferValue(value)
          } catch (error) {
            expect(error).toBeInstanceOf(InvalidInput)
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })
})

function numbers(datatype: Datatype): fc.Arbitrary<unknown> {
  const finite = { noNaN: true, noDefaultInfinity: true }
  const bits = byteSize[datatype] * 8
  if (datatype === 'BOOL') return fc.boolean()
  if (datatype === 'BYTES') return fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed())
  if (datatype === 'FP64') return fc.double(finite)
  if (datatype === 'FP32') return fc.float(finite)
  if (datatype === 'FP16') return fc.float({ ...finite, min: -65504, max: 65504 }).map(Math.f16round)
  // The upper half of an FP32 is a BF16.
  if (datatype === 'BF16')
    return fc.nat(0x7f7f).map((half) => new Float32Array(Uint32Array.of(half * 0x10000).buffer)[0])
  const [min, max] = datatype.startsWith('U')
    ? [0n, 2n ** BigInt(bits) - 1n]
    : [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n]
  return fc.bigInt(min, max).map((value) => (bits === 64 ? value : Number(value)))
}

function tensors(datatype: Datatype): fc.Arbitrary<Tensor> {
  return fc.array(numbers(datatype), { maxLength: 12 }).chain((data) =>
    fc.constantFrom([data.length], [1, data.length, 1]).map((shape) => {
      const { outputs } = readOutputs([{ name: 'x', shape, datatype, data }], { inputs: [] })
      return outputs[0]!
    }),
  )
}

/** Sends a tensor as an answer and reads that answer back as a request: their tensors have one form. */
function returned(tensor: Tensor, binary: boolean): Tensor {
  const answer = encodeAnswer(
    { model_name: 'm', outputs: [tensor] },
    { inputs: [], parameters: { binary_data_output: binary } },
  )
  const sent = Buffer.from(answer.body)
  const json = sent.subarray(0, answer.headerLength).toString().replace('"outputs"', '"inputs"')
  const bytes = Buffer.concat([Buffer.from(json), sent.subarray(answer.headerLength ?? sent.length)])
  const headerLength = binary ? String(Buffer.byteLength(json)) : undefined
  return decodeInferBody({ bytes, headerLength }).inputs[0]!
}

describe.each(datatypes)('%s goes out and comes back the same', (datatype) => {
  if (datatype !== 'BF16') {
    test('as JSON', () => {
      fc.assert(
        fc.property(tensors(datatype), (tensor) => {
          expect(returned(tensor, false)).toStrictEqual(tensor)
        }),
      )
    })
  }

  test('as raw bytes', () => {
    fc.assert(
      fc.property(tensors(datatype), (tensor) => {
        const expected =
          datatype === 'BYTES'
            ? { ...tensor, data: Array.from(tensor.data as string[], (text) => utf8.encode(text)) }
            : tensor
        expect(returned(tensor, true)).toStrictEqual(expected)
      }),
    )
  })
})

describe('a large body costs memory and time in proportion', () => {
  test.each<[string, () => InferBody]>([
    [
      'a million long integers',
      () => {
        const data = `${'9007199254740993,'.repeat(1e6)}1`
        const text = `{"inputs":[{"name":"x","shape":[1000001],"datatype":"INT64","data":[${data}]}]}`
        return { bytes: utf8.encode(text) }
      },
    ],
    ['eight million open lists', () => ({ bytes: utf8.encode('['.repeat(8e6)) })],
    [
      'a million dimensions',
      () => ({
        bytes: utf8.encode(
          `{"inputs":[{"name":"x","shape":[${'1,'.repeat(1e6)}1],"datatype":"FP32","data":[[1]]}]}`,
        ),
      }),
    ],
  ])('%s', (_what, body) => {
    survives(body())
  })
})
