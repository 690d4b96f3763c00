/** The arithmetic of a validation: goldens, percentiles, gates, digests, examples. */

import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseValidation } from '../contracts/validation.ts'
import { Gates, Golden } from '../contracts/validation-requests.ts'
import { canonicalJson, digestFiles, digestJson, digestModel } from '../protocols/digest.ts'
import { requestsOf, warmupOf } from '../protocols/examples.ts'
import { gateFailure, loadGates, memoryGate } from '../protocols/gates.ts'
import { compareGolden } from '../protocols/golden.ts'
import { percentile, summarize } from '../protocols/load.ts'
import { binariesOf } from '../protocols/serving-binary.ts'

function compare(expected: object, actual: object, over: object = {}) {
  const golden = Golden.parse({ request: {}, outputs: { y: expected }, ...over })
  return compareGolden('g', golden, { y: actual as { data: unknown } })
}

describe('golden comparison', () => {
  const tensor = (data: unknown, shape: number[], datatype: string) => ({ data, shape, datatype })
  const close = { rules: { y: { rule: 'close', atol: 1e-3 } } }

  test('integers, booleans and strings are compared exactly, floats closely', () => {
    expect(compare({ data: [1, 2] }, { data: [1, 2] }).pass).toBe(true)
    expect(compare({ data: [1, 2] }, { data: [1, 3] }).pass).toBe(false)
    expect(compare({ data: ['a', true] }, { data: ['a', true] }).pass).toBe(true)
    expect(compare({ data: [0.5] }, { data: [0.5 + 1e-7] }).pass).toBe(true)
    expect(compare({ data: [0.5] }, { data: [0.5 + 1e-4] }).pass).toBe(false)
    expect(compare(tensor([1], [1], 'FP32'), tensor([1.000001], [1], 'FP32')).pass).toBe(true)
  })

  test('the ONNX version of iris is within 1e-3 of the original and outside 1e-6', () => {
    const [original, onnx] = [{ data: [0.981557, 0.926386] }, { data: [0.981579, 0.926711] }]
    expect(compare(original, onnx, close).pass).toBe(true)
    expect(compare(original, onnx)).toMatchObject({
      pass: false,
      worst: { output: 'y', index: 1, expected: 0.926386, actual: 0.926711 },
    })
  })

  test('names, datatypes and shapes must match, unless flattened', () => {
    const [column, row] = [tensor([0, 1, 2], [3, 1], 'INT64'), tensor([0, 1, 2], [3], 'INT32')]
    expect(compare(row, column)).toMatchObject({ pass: false, message: /datatype INT64 where INT32/ })
    expect(compare({ ...row, datatype: 'INT64' }, column)).toMatchObject({
      pass: false,
      message: /shape \[3,1\]/,
    })
    expect(compare(row, column, { flatten: true }).pass).toBe(true)
    expect(compareGolden('g', Golden.parse({ request: {}, outputs: { z: { data: 1 } } }), {})).toMatchObject({
      pass: false,
      message: 'output z is missing; the answer has none',
    })
  })

  test('NaN equals NaN only when asked; infinities equal themselves', () => {
    expect(compare({ data: ['NaN'] }, { data: ['NaN'] }).pass).toBe(false)
    expect(compare({ data: ['NaN'] }, { data: ['NaN'] }, { nanEqual: true }).pass).toBe(true)
    expect(compare({ data: ['Infinity', 0.5] }, { data: ['Infinity', 0.5] }).pass).toBe(true)
    expect(compare({ data: ['Infinity', 0.5] }, { data: ['-Infinity', 0.5] }).pass).toBe(false)
    expect(compare({ data: ['Infinity', 0.5] }, { data: [1e308, 0.5] }).pass).toBe(false)
  })

  test('argmax looks at each row, shapeOnly at the shape, ignore at nothing', () => {
    const rows = [
      [0.1, 0.9],
      [0.8, 0.2],
    ]
    const rule = (name: string) => ({ rules: { y: { rule: name } } })
    const likely = [
      [0.4, 0.6],
      [0.6, 0.4],
    ]
    expect(compare({ data: rows }, { data: likely }, rule('argmax')).pass).toBe(true)
    expect(compare({ data: rows }, { data: likely.toReversed() }, rule('argmax')).pass).toBe(false)
    expect(compare({ data: rows }, { data: likely }, rule('shapeOnly')).pass).toBe(true)
    expect(compare({ data: rows }, { data: [1] }, rule('shapeOnly')).pass).toBe(false)
    expect(compare({ data: rows }, { data: 'anything' }, rule('ignore')).pass).toBe(true)
  })

  test('the largest differences and the worst element are recorded', () => {
    expect(compare({ data: [1.5, 2, 4] }, { data: [1.5, 2.5, 5] })).toMatchObject({
      pass: false,
      maxAbsDiff: 1,
      maxRelDiff: 0.25,
      worst: { index: 2, expected: 4, actual: 5 },
      output: '{"data":[1.5,2.5,5]}',
    })
  })

  test('an answer always equals itself', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (data) => {
        expect(compare({ data }, { data }).pass).toBe(true)
      }),
    )
  })
})

describe('percentiles and gates', () => {
  test('percentiles are nearest rank', () => {
    const times = Array.from({ length: 200 }, (_, index) => index + 1)
    expect([50, 90, 95, 99].map((p) => percentile(times, p))).toEqual([100, 180, 190, 198])
    expect([50, 99].map((p) => percentile([7], p))).toEqual([7, 7])
    expect(percentile([], 50)).toBeNull()
  })

  test('a summary counts errors and takes times of good answers only', () => {
    expect(summarize(4, [3, 1, 2], { timeout: 1 }, 1000)).toEqual({
      concurrency: 4,
      n: 4,
      errors: { timeout: 1 },
      p50: 2,
      p90: 3,
      p95: 3,
      p99: 3,
      max: 3,
      rps: 3,
    })
  })

  const result = summarize(1, [10, 20, 30], {}, 100)
  test('a closed gate names itself, its limit and the measured value', () => {
    const verdicts = loadGates(Gates.parse({ maxP50Ms: 25, maxP99Ms: 25, minThroughput: 10 }), [result])
    expect(verdicts).toEqual([
      { name: 'maxP50Ms', limit: 25, value: 20, pass: true },
      { name: 'maxP99Ms', limit: 25, value: 30, pass: false },
      { name: 'maxErrorRate', limit: 0, value: 0, pass: true },
      { name: 'minThroughput', limit: 10, value: 30, pass: true },
    ])
    expect(gateFailure(verdicts)).toEqual({
      class: 'LATENCY_GATE',
      message: 'maxP99Ms: measured 30, limit 25',
    })
  })

  test('one failed answer closes the error gate unless it is told otherwise', () => {
    const some = summarize(1, [1, 1, 1], { timeout: 1 }, 100)
    expect(gateFailure(loadGates(Gates.parse({}), [some]))).toMatchObject({ class: 'LATENCY_GATE' })
    expect(gateFailure(loadGates(Gates.parse({ maxErrorRate: 0.25 }), [some]))).toBeUndefined()
  })

  test('regression is judged against the baseline of the same concurrency', () => {
    const gates = Gates.parse({ maxRegression: { blessing: 'b', p95: 1.2 } })
    const earlier = (p95: number, concurrency = 1) => [{ ...result, p95, concurrency }]
    expect(gateFailure(loadGates(gates, [result], earlier(28)))).toBeUndefined()
    expect(gateFailure(loadGates(gates, [result], earlier(20)))?.message).toMatch(
      /maxRegression.p95: measured 1.5/,
    )
    expect(gateFailure(loadGates(gates, [result], earlier(28, 4)))?.message).toMatch(/measured nothing/)
  })

  test('memory that nobody measured does not pass a memory gate', () => {
    const gates = Gates.parse({ maxPeakMemoryBytes: 100 })
    expect(gateFailure(memoryGate(gates, 100))).toBeUndefined()
    expect(gateFailure(memoryGate(gates, 101))).toMatchObject({ class: 'MEMORY_GATE' })
    expect(gateFailure(memoryGate(gates, null))).toMatchObject({ class: 'MEMORY_GATE' })
    expect(memoryGate(Gates.parse({}), null)).toEqual([])
  })
})

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'perdure-digest-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

describe('digests', () => {
  const sha = (text: string) => createHash('sha256').update(text).digest('hex')

  test('a model’s digest is that of its manifest, files sorted by path bytes', async () => {
    const path = folder()
    mkdirSync(join(path, 'b'))
    writeFileSync(join(path, 'b', 'x'), 'two')
    writeFileSync(join(path, 'b.txt'), 'one')
    writeFileSync(join(path, 'Z'), 'three')
    const manifest = `${sha('three')}  Z\n${sha('one')}  b.txt\n${sha('two')}  b/x\n`
    expect(await digestFiles(path)).toBe(`sha256:${sha(manifest)}`)
    expect(await digestModel({ path })).toEqual({ digest: `sha256:${sha(manifest)}`, kind: 'manifest' })
    expect(await digestFiles(join(path, 'Z'))).toBe(`sha256:${sha(`${sha('three')}  Z\n`)}`)
  })

  test('links that leave the model, empty folders and missing paths are refused by name', async () => {
    const path = folder()
    const refuses = (message: RegExp) =>
      expect(digestFiles(path)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message })
    await refuses(/empty folder/)
    writeFileSync(join(path, 'x'), '1')
    symlinkSync('x', join(path, 'inside'))
    await digestFiles(path)
    symlinkSync('/etc/hostname', join(path, 'outside'))
    await refuses(/leaves it: outside/)
    rmSync(join(path, 'outside'))
    symlinkSync('..', join(path, 'up'))
    await refuses(/leaves it: up|circular/)
    rmSync(join(path, 'up'))
    symlinkSync('.', join(path, 'loop'))
    await refuses(/circular link: loop/)
    await expect(digestFiles('/nowhere')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  test('a remote model has the digest it is given, or none that binds', async () => {
    expect(await digestModel({ uri: 's3://a/b', digest: 'gen-7' })).toEqual({
      digest: 'gen-7',
      kind: 'given',
    })
    expect(await digestModel({ uri: 's3://a/b' })).toEqual({ digest: '', kind: 'uri-only' })
    const path = folder()
    writeFileSync(join(path, 'x'), '1')
    await expect(digestModel({ path, digest: 'sha256:other' })).rejects.toMatchObject({
      message: /model\.digest/,
    })
  })

  test('canonical JSON does not depend on the order of keys', () => {
    expect(canonicalJson({ b: [1, { d: null, c: undefined }], a: 'ä' })).toBe('{"a":"ä","b":[1,{"d":null}]}')
    expect(digestJson({ a: 1, b: 2 })).toBe(digestJson({ b: 2, a: 1 }))
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })
})

describe('binaries and examples', () => {
  function parsed(over: Record<string, unknown>) {
    const { spec, faults } = parseValidation({
      model: { path: '/m' },
      servingSpec: { binary: { kind: 'mlrun-v2', command: ['serve'] }, platform: { kind: 'process' } },
      ...over,
    })
    if (spec === undefined) throw new Error(JSON.stringify(faults))
    return spec
  }

  test('CL-01: tag latest without an image name means tensorflow/serving:latest; digests come after tags', () => {
    const digest = `sha256:${'a'.repeat(64)}`
    const { servingSpec, model } = parsed({
      servingSpec: {
        binary: { kind: 'tensorflow_serving', tags: ['latest', '2.19'], digests: [digest] },
        platform: { kind: 'docker' },
      },
    })
    const binaries = binariesOf(servingSpec, model)
    expect(binaries.map(({ image, index }) => [index, image])).toEqual([
      [0, 'tensorflow/serving:latest'],
      [1, 'tensorflow/serving:2.19'],
      [2, `tensorflow/serving@${digest}`],
    ])
    expect(binaries[0]).toMatchObject({
      ports: { http: 8501, grpc: 8500 },
      modelMountPath: '/model/infra-validation-model/1',
    })
  })

  test('requests are the inline ones and the first examples of the split', async () => {
    const path = folder()
    writeFileSync(join(path, 'eval.jsonl'), '{"inputs":[1]}\n\n{"inputs":[2]}\n{"inputs":[3]}\n')
    const spec = parsed({
      requests: [{ inputs: [0] }],
      requestSpec: { kind: 'mlrun-v2', numExamples: 2 },
      examples: { splits: { eval: join(path, 'eval.jsonl') } },
    })
    expect(await requestsOf(spec)).toEqual([{ inputs: [0] }, { inputs: [1] }, { inputs: [2] }])
    const more = parsed({
      requestSpec: { kind: 'mlrun-v2', numExamples: 9 },
      examples: { splits: { eval: join(path, 'eval.jsonl') } },
    })
    expect(await requestsOf(more)).toHaveLength(3)
  })

  test('CL-05: an example that does not fit is refused with its file and line', async () => {
    const path = folder()
    const file = join(path, 'eval.jsonl')
    const spec = parsed({
      requestSpec: { kind: 'mlrun-v2', numExamples: 5 },
      examples: { splits: { eval: file } },
    })
    const refuses = (message: RegExp) =>
      expect(requestsOf(spec)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message })
    await refuses(/splits\.eval: cannot be read/)
    writeFileSync(file, '{"inputs":[1]}\n{"instances":[1]}\n')
    await refuses(/splits\.eval: line 2 does not fit/)
    writeFileSync(file, 'x\n')
    await refuses(/line 1 is not JSON/)
    writeFileSync(file, '\n')
    await refuses(/holds no example/)
  })

  test('the warm-up artifact holds each request as it is sent', () => {
    const target = { modelName: 'm', binary: { kind: 'kserve-v1' as const } }
    expect(warmupOf(target, [{ instances: [1] }])).toBe(
      '{"method":"POST","path":"/v1/models/m:predict","headers":{"content-type":"application/json"},"body":{"instances":[1]}}\n',
    )
  })
})
