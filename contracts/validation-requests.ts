/** Schemas of what a candidate is asked: requests by binary kind, goldens, load, gates. */
import { z } from 'zod'
import type { BinaryKind } from './validation-serving.ts'

const id = z.string().min(1).max(200)
/** Any JSON value. `z.json()` refers to itself, which no OpenAPI generator follows to its end. */
const anything = z.unknown()

const Tensor = z.strictObject({
  name: z.string().min(1),
  shape: z.array(z.int().nonnegative()),
  datatype: z.enum([
    'BOOL',
    'UINT8',
    'UINT16',
    'UINT32',
    'UINT64',
    'INT8',
    'INT16',
    'INT32',
    'INT64',
    'FP16',
    'BF16',
    'FP32',
    'FP64',
    'BYTES',
  ]),
  parameters: z.record(z.string(), anything).optional(),
  data: z.array(anything),
})

const OpenInferenceRequest = z.strictObject({
  id: id.optional(),
  parameters: z.record(z.string(), anything).optional(),
  inputs: z.array(Tensor).min(1),
  outputs: z.array(z.looseObject({ name: z.string().min(1) })).optional(),
})

const TensorflowRequest = z
  .strictObject({
    id: id.optional(),
    method: z.enum(['predict', 'classify', 'regress'], {
      error: 'is none of predict, classify and regress',
    }),
    signature_name: z.string().min(1).optional(),
    instances: z.array(anything).min(1).optional(),
    inputs: anything.optional(),
    examples: z.array(z.record(z.string(), anything)).min(1).optional(),
  })
  .refine(
    ({ method, instances, inputs, examples }) =>
      method === 'predict'
        ? (instances === undefined) !== (inputs === undefined) && examples === undefined
        : examples !== undefined && instances === undefined && inputs === undefined,
    { error: 'predict takes instances or inputs; classify and regress take examples' },
  )

const KserveV1Request = z.strictObject({
  id: id.optional(),
  instances: z.array(anything).min(1),
  parameters: anything.optional(),
})
const CogRequest = z.strictObject({ id: id.optional(), input: z.record(z.string(), anything) })
const MlrunRequest = z.strictObject({
  id: id.optional(),
  inputs: z.array(anything, { error: 'must be a list' }).min(1),
})

const CustomRequest = z.strictObject({
  id: id.optional(),
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH']).optional(),
  path: z.string().startsWith('/').optional(),
  headers: z.record(z.string(), z.string()).optional(),
  body: anything.optional(),
  /** Rules on the answer beyond the status. */
  expect: z
    .strictObject({
      status: z.int().min(100).max(599).optional(),
      jsonPath: z.string().min(1).optional(),
      equals: anything.optional(),
    })
    .optional(),
})

/** One request of a kind, as it stands in `requests`, in a golden, and as a line of an examples file. */
export const requestSchemas = {
  tensorflow_serving: TensorflowRequest,
  'open-inference-v2': OpenInferenceRequest,
  'kserve-v1': KserveV1Request,
  cog: CogRequest,
  'mlrun-v2': MlrunRequest,
  custom: CustomRequest,
} as const satisfies Record<BinaryKind, z.ZodType>

export type RequestOf<K extends BinaryKind> = z.infer<(typeof requestSchemas)[K]>
export type TensorflowRequest = RequestOf<'tensorflow_serving'>
export type OpenInferenceRequest = RequestOf<'open-inference-v2'>
export type CustomRequest = RequestOf<'custom'>
/** Any request; its kind is the binary's. */
export type ProbeRequest = RequestOf<BinaryKind>

const Rule = z.strictObject({
  rule: z.enum(['exact', 'close', 'argmax', 'shapeOnly', 'ignore']),
  atol: z.number().nonnegative().default(1e-6),
  rtol: z.number().nonnegative().default(1e-5),
})
export type GoldenRule = z.infer<typeof Rule>

/** Expected output: a tensor with its shape and datatype, or any JSON value where the server names none. */
const ExpectedOutput = z.strictObject({
  data: anything.refine((value) => value !== undefined, { error: 'is missing' }),
  shape: z.array(z.int().nonnegative()).optional(),
  datatype: z.string().min(1).optional(),
})
export type ExpectedOutput = z.infer<typeof ExpectedOutput>

export const Golden = z.strictObject({
  id: id.optional(),
  request: z.record(z.string(), anything),
  /** By output name; servers without names answer as `predictions`, `results`, `outputs`, `output` or `body`. */
  outputs: z
    .record(z.string(), ExpectedOutput)
    .refine((outputs) => Object.keys(outputs).length > 0, { error: 'names no output' }),
  /** By output name; default `exact` for integers, booleans and strings, `close` for floats. */
  rules: z.record(z.string(), Rule).default({}),
  /** Compares elements in order and lets names of shapes and datatypes differ. */
  flatten: z.boolean().default(false),
  nanEqual: z.boolean().default(false),
})
export type Golden = z.infer<typeof Golden>

export const RequestSpec = z.strictObject({
  kind: z.string().min(1),
  splitName: z.string().min(1).optional(),
  numExamples: z.int({ error: 'must be a whole number' }).min(1).default(1),
  makeWarmup: z.boolean().default(false),
})
export type RequestSpec = z.infer<typeof RequestSpec>

/** Examples by split: files with one JSON request a line, readable by the worker. */
export const Examples = z.strictObject({
  splits: z
    .record(z.string().min(1), z.string().min(1))
    .refine((splits) => Object.keys(splits).length > 0, { error: 'has no split' }),
})
export type Examples = z.infer<typeof Examples>

export const Load = z
  .strictObject({
    concurrencies: z.array(z.int().min(1).max(1024)).min(1).default([1, 4, 16]),
    requests: z.int().positive().optional(),
    durationSeconds: z.number().positive().optional(),
    /** Sent before each measurement and not counted. */
    warmupRequests: z.int().nonnegative().default(3),
  })
  .refine(({ requests, durationSeconds }) => (requests === undefined) !== (durationSeconds === undefined), {
    error: 'needs exactly one of requests and durationSeconds',
  })
export type Load = z.infer<typeof Load>

const ms = z.number().positive().optional()

export const Gates = z.strictObject({
  maxP50Ms: ms,
  maxP90Ms: ms,
  maxP95Ms: ms,
  maxP99Ms: ms,
  /** Share of failed answers, 0..1. */
  maxErrorRate: z.number().min(0).max(1).default(0),
  /** Good answers per second. */
  minThroughput: z.number().positive().optional(),
  /** Against the load results of an earlier blessing: measured ≤ factor × baseline. */
  maxRegression: z
    .strictObject({
      blessing: z.string().min(1),
      p50: ms,
      p90: ms,
      p95: ms,
      p99: ms,
    })
    .optional(),
  maxPeakMemoryBytes: z.int().positive().optional(),
})
export type Gates = z.infer<typeof Gates>
