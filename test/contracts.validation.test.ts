/** The validation request: defaults, and every fault named with its field before anything is launched. */
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
import { describe, expect, test } from 'vitest'
import { ServiceError } from '../contracts/errors.ts'
import { configInvalid, modeOf, parseValidation, ValidationRequest } from '../contracts/validation.ts'
import {
  anotherAttempt,
  attemptDelayMs,
  type BinaryOutcome,
  exitCodeOf,
  failureClasses,
  failureClassOf,
  verdictOf,
  weightOf,
} from '../contracts/validation-verdict.ts'

const command = { kind: 'open-inference-v2', command: ['serve'] }
const tensor = { name: 'x', shape: [1], datatype: 'FP32', data: [1] }

function request(
  over: Record<string, unknown> = {},
  binary: object = command,
  platform: object = { kind: 'process' },
) {
  return { model: { path: '/models/iris' }, servingSpec: { binary, platform }, ...over }
}

function fieldsOf(input: unknown): string[] {
  return (parseValidation(input).faults ?? []).map(({ field }) => field)
}

test('what is left out has the specification’s defaults', () => {
  const { spec } = parseValidation(request())
  expect(spec?.servingSpec.modelName).toBe('infra-validation-model')
  expect(spec?.validationSpec).toEqual({
    numTries: 5,
    maxLoadingTimeSeconds: 300,
    pullTimeoutSeconds: 600,
    pollIntervalSeconds: 1,
    readyStreak: 2,
    requestTimeoutSeconds: 30,
    queryBudgetSeconds: 300,
    stopBudgetSeconds: 120,
    retryDelay: { initialSeconds: 1, maxSeconds: 30 },
    retryOn: [],
    blessingTtlSeconds: 2_592_000,
  })
  expect(spec?.gates).toEqual({ maxErrorRate: 0 })
})

test('the mode follows from what is to be sent', () => {
  const modes = [{}, { requests: [{ inputs: [tensor] }] }].map((over) => {
    const { spec } = parseValidation(request(over))
    return spec && modeOf(spec)
  })
  expect(modes).toEqual(['LOAD_ONLY', 'LOAD_AND_QUERY'])
})

describe('faults', () => {
  const docker = { kind: 'docker' }
  const image = { kind: 'cog', image: 'a:1' }
  const remote = { model: { uri: 's3://models/iris' } }
  const cases: [string, unknown, string[]][] = [
    ['BUG-01: no binary', request({}, { kind: 'tensorflow_serving' }, docker), ['servingSpec.binary.image']],
    ['no image', request({}, { kind: 'cog' }, docker), ['servingSpec.binary.image']],
    ['no command', request({}, { kind: 'cog' }), ['servingSpec.binary.command']],
    ['unknown binary', request({}, { kind: 'torchserve', command: ['x'] }), ['servingSpec.binary.kind']],
    ['unknown platform', request({}, command, { kind: 'nomad' }), ['servingSpec.platform.kind']],
    ['unknown field', request({ surprise: 1 }), ['surprise']],
    ['unknown nested field', request({ validationSpec: { tries: 1 } }), ['validationSpec.tries']],
    ['no model', { ...request(), model: {} }, ['model.path']],
    ['image and tags', request({}, { ...image, tags: ['1'] }, docker), ['servingSpec.binary.image']],
    ['an image for a process', request({}, { ...command, image: 'a:1' }), ['servingSpec.binary.image']],
    [
      'custom without readiness',
      request({}, { kind: 'custom', command: ['x'] }),
      ['servingSpec.binary.readiness'],
    ],
    [
      'a broken pattern',
      request({}, { kind: 'custom', command: ['x'], readiness: { tcp: true, failurePattern: '(' } }),
      ['servingSpec.binary.readiness.failurePattern'],
    ],
    [
      'an environment entry without a name, and one with an unknown reference',
      request({}, { ...command, env: [{ name: '' }, { name: 'A', valueFrom: { fieldRef: {} } }] }),
      [
        'servingSpec.binary.env[0].name',
        'servingSpec.binary.env[0].name',
        'servingSpec.binary.env[1].valueFrom',
      ],
    ],
    [
      'a Kubernetes secret for a process',
      request({}, { ...command, env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] }),
      ['servingSpec.binary.env[0].valueFrom'],
    ],
    [
      'limits of an endpoint',
      request({ limits: { cpus: 1 } }, { kind: 'cog' }, { kind: 'endpoint', address: 'a:1' }),
      ['limits'],
    ],
    [
      'limits twice',
      request({ ...remote, limits: { cpus: 1 } }, image, {
        kind: 'kubernetes',
        resources: { limits: { cpu: '1' } },
      }),
      ['limits'],
    ],
    // H-01.
    [
      'a kubeconfig, a file and a server',
      request(remote, image, {
        kind: 'kubernetes',
        kubeconfig: '/data/files/x.yaml',
        file: 'x',
        server: 'https://x',
      }),
      ['servingSpec.platform.kubeconfig', 'servingSpec.platform.file', 'servingSpec.platform.server'],
    ],
    [
      'a path that no Pod can see',
      request({}, image, { kind: 'kubernetes' }),
      ['servingSpec.platform.modelClaim'],
    ],
    [
      'a deadline below the budgets',
      request(remote, image, { kind: 'kubernetes', activeDeadlineSeconds: 123 }),
      ['servingSpec.platform.activeDeadlineSeconds'],
    ],
    [
      'a gate above the limit',
      request({ gates: { maxPeakMemoryBytes: 2e7 }, limits: { memoryBytes: 1e7 } }),
      ['gates.maxPeakMemoryBytes'],
    ],
    [
      'BUG-15: a request spec without examples',
      request({ requestSpec: { kind: 'open-inference-v2' } }),
      ['examples'],
    ],
    [
      'BUG-15: examples without a request spec',
      request({ examples: { splits: { eval: 'a.jsonl' } } }),
      ['requestSpec'],
    ],
    [
      'an unknown split',
      request({
        examples: { splits: { eval: 'a.jsonl' } },
        requestSpec: { kind: 'open-inference-v2', splitName: 'train' },
      }),
      ['requestSpec.splitName'],
    ],
    [
      'a request that does not fit',
      request({ requests: [{ instances: [1] }] }),
      ['requests[0].inputs', 'requests[0]'],
    ],
    [
      'CL-05: an unknown request type',
      request(
        { requests: [{ method: 'rank', examples: [{}] }] },
        { kind: 'tensorflow_serving', command: ['x'] },
      ),
      ['requests[0].method'],
    ],
    [
      'a rule about nothing',
      request({
        goldens: [
          { request: { inputs: [tensor] }, outputs: { y: { data: [1] } }, rules: { z: { rule: 'exact' } } },
        ],
      }),
      ['goldens[0].rules.z'],
    ],
    [
      'a golden without data',
      request({ goldens: [{ request: { inputs: [tensor] }, outputs: { y: {} } }] }),
      ['goldens[0].outputs.y.data'],
    ],
    ['load without requests', request({ load: { requests: 10 } }), ['load']],
    ['latency gates without load', request({ gates: { maxP95Ms: 10 } }), ['gates.maxP95Ms']],
    [
      'a grace longer than its budget',
      request({ validationSpec: { stopGraceSeconds: 120 } }),
      ['validationSpec.stopGraceSeconds'],
    ],
  ]
  test.each(cases)('%s', (_name, input, fields) => {
    expect(fieldsOf(input)).toEqual(fields)
  })

  test('all faults come at once, in one CONFIG_INVALID error', () => {
    const { faults = [] } = parseValidation(request({ surprise: 1, validationSpec: { numTries: 0 } }))
    expect(faults.map(({ field }) => field)).toEqual(['validationSpec.numTries', 'surprise'])
    const error = configInvalid(faults)
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message).toContain('surprise: is not a known field')
  })
})

test('the schema can be shown in OpenAPI', () => {
  const content = { 'application/json': { schema: ValidationRequest } }
  const app = new OpenAPIHono()
  const responses = { 202: { description: 'accepted' } }
  app.openapi(
    createRoute({ method: 'post', path: '/v1/validations', request: { body: { content } }, responses }),
    (c) => c.body(null, 202),
  )
  const document = app.getOpenAPI31Document({ openapi: '3.1.0', info: { title: 'test', version: '1' } })
  expect(document.components?.schemas).toHaveProperty('ValidationRequest.properties.servingSpec')
})

describe('verdicts', () => {
  const passed: BinaryOutcome = { passed: true, failures: ['JOB_ABORTED'] }
  const broken: BinaryOutcome = { passed: false, failures: ['UNSCHEDULABLE', 'QUERY_FAILED'] }
  const unlucky: BinaryOutcome = { passed: false, failures: ['PLATFORM_UNAVAILABLE'] }

  test('the first match of the table decides', () => {
    const verdict = (binaries: BinaryOutcome[], over = {}) =>
      verdictOf({ cancelled: false, binaries, ...over })
    expect(verdict([passed, passed])).toBe('BLESSED')
    expect(verdict([passed, broken])).toBe('NOT_BLESSED')
    expect(verdict([unlucky, broken])).toBe('NOT_BLESSED')
    expect(verdict([passed, unlucky])).toBe('ERROR')
    expect(verdict([passed], { error: 'MODEL_CHANGED' })).toBe('ERROR')
    expect(verdict([passed], { cancelled: true })).toBe('ABORTED')
    expect(verdict([broken], { cancelled: true })).toBe('ABORTED')
  })

  test('BUG-01: no binary is never a blessing', () => {
    expect(verdictOf({ cancelled: false, binaries: [] })).toBe('ERROR')
  })

  test('BUG-11: what is settled is not tried again, unless the spec says so', () => {
    const again = failureClasses.filter((failure) => anotherAttempt(failure, 1, 5))
    expect(again).toEqual(['UNSCHEDULABLE', 'PLATFORM_UNAVAILABLE', 'JOB_ABORTED', 'DEADLINE_EXCEEDED'])
    expect(anotherAttempt('GOLDEN_MISMATCH', 1, 5, ['GOLDEN_MISMATCH'])).toBe(true)
    expect(anotherAttempt('JOB_ABORTED', 5, 5)).toBe(false)
  })

  test('BUG-11: attempts are spaced, at most by the longest delay', () => {
    expect([1, 2, 3, 9].map((n) => attemptDelayMs(n, 1000, 30_000, 1))).toEqual([1000, 2000, 4000, 30_000])
    expect(attemptDelayMs(1, 1000, 30_000, 0)).toBe(500)
  })

  test('an unclassified exception counts as an aborted job; a wrapped class is found', () => {
    expect(failureClassOf(new Error('surprise'))).toBe('JOB_ABORTED')
    const wrapped = new Error('activity failed', { cause: new ServiceError('OOM_KILLED', 'x') })
    expect(failureClassOf(wrapped)).toBe('OOM_KILLED')
    expect(weightOf[failureClassOf(wrapped)]).toBe('failure')
  })

  test('exit codes follow the verdict', () => {
    expect(
      (['BLESSED', 'NOT_BLESSED', 'ERROR', 'ABORTED'] as const).map((verdict) => exitCodeOf(verdict)),
    ).toEqual([0, 1, 3, 4])
    expect(exitCodeOf('ERROR', 'CONFIG_INVALID')).toBe(2)
  })
})
