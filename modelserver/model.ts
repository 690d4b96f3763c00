/** The class users extend: a model's state, its hooks with their base behaviour, its parameters. Refuses HTTP. */

import type { RequestInfo, ServerContext } from './context.ts'
import { Exception, NotImplementedError, RuntimeError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { type ModelSpec, readModel } from './model-spec.ts'
import { decodeInferValue } from './tensors/index.ts'

export type Awaitable<T> = T | Promise<T>

/** A request of protocol `v2` as hooks see it: `inputs` is checked by `validate`; other members pass unchecked. */
export interface ModelRequest {
  inputs?: unknown[]
  [member: string]: unknown
}

/** Protocols with rules of their own; any other name is `v2` without the `inputs` check. */
export type Protocol = 'v2' | 'oip' | 'v1' | (string & {})

/** What a model is constructed with. A subclass that has a constructor passes it on: `super(options)`. */
export interface ModelOptions {
  /** `name` or `name:version`, split at the first colon. */
  name: string
  /** File, directory or URI for `getModel()`. */
  modelPath?: string
  /** A ready-made model: any value but undefined and null makes the model ready; `load()` is never called. */
  model?: unknown
  protocol?: Protocol
  /** Dotted path to the part of the body that is the request. */
  inputPath?: string
  /** Dotted path in the original body at which the answer is placed. */
  resultPath?: string
  params?: Record<string, unknown>
  context?: ServerContext
}

/** `Request` is the type of what hooks receive: `ModelRequest`, or `InferRequest` for protocol `oip`. */
export class V2ModelServer<Request extends object = ModelRequest> {
  readonly name: string
  readonly version: string
  readonly protocol: Protocol
  ready = false
  error = ''
  modelPath: string
  model: unknown
  modelSpec: ModelSpec | undefined
  metrics: Record<string, unknown> = {}
  labels: Record<string, unknown> = {}
  modelEndpointUid: string | undefined
  readonly inputPath: string | undefined
  readonly resultPath: string | undefined
  readonly params: Record<string, unknown>
  readonly context: ServerContext | undefined

  constructor(options: ModelOptions) {
    const colon = options.name.indexOf(':')
    this.name = colon < 0 ? options.name : options.name.slice(0, colon)
    this.version = colon < 0 ? '' : options.name.slice(colon + 1)
    this.protocol = options.protocol ?? 'v2'
    this.modelPath = options.modelPath ?? ''
    this.inputPath = options.inputPath
    this.resultPath = options.resultPath
    this.params = { ...options.params }
    this.context = options.context
    if (options.model !== undefined && options.model !== null) {
      this.model = options.model
      this.ready = true
    }
  }

  /** Makes the model able to predict. The server sets `ready` when it returns. */
  load(): Awaitable<void> {
    throw new RuntimeError('please specify a load method or a model object')
  }

  /** First hook: what it returns is the request from here on. */
  preprocess(request: Request, _op: string, _ctx: RequestInfo): Awaitable<Request> {
    return request
  }

  /** Second hook. `v2`: `inputs` is a list; `oip`: every tensor is well-formed; else no rule. Throws on a bad request. */
  validate(request: Request, _op: string, ctx: RequestInfo): Awaitable<Request> {
    if (ctx.protocol === 'v2') checkInputs(request)
    else if (ctx.protocol === 'oip') decodeInferValue(request)
    return request
  }

  /** The answer's `outputs`. `oip`: a list of tensors, or `{outputs, parameters?}`. */
  predict(_request: Request, _ctx: RequestInfo): unknown {
    throw new NotImplementedError()
  }

  explain(_request: Request, _ctx: RequestInfo): unknown {
    throw new NotImplementedError()
  }

  /** Last hook: what it returns is sent. */
  postprocess(envelope: object, _ctx: RequestInfo): unknown {
    return envelope
  }

  /** Replaces `inputs` and `outputs` in tracking records; `[null, null]` keeps request and answer as they are. */
  loggedResults(
    _request: Request,
    _response: unknown,
    _op: string,
  ): Awaitable<readonly [unknown[] | null, unknown[] | null]> {
    return [null, null]
  }

  /** Runs after `load`, before the model counts as ready. */
  warmup?(): Awaitable<void>

  /** Runs when the model is unloaded or the server stops, after the last request. */
  unload?(): Awaitable<void>

  /** Streams text, or objects merged into the frames, for `generate` and `generate_stream`. */
  generate?(request: Record<string, unknown>, ctx: RequestInfo): AsyncIterable<string | object>

  /** The value in `params` if the key is present, even null; else the server's parameter; else the default. */
  getParam<T = unknown>(key: string, defaultValue?: T): T {
    const found = Object.hasOwn(this.params, key)
      ? this.params[key]
      : this.context === undefined
        ? defaultValue
        : this.context.getParam(key, defaultValue)
    return found as T // the caller names the type: parameters come from configuration
  }

  /** Kept until overwritten; shown in tracking records and, if finite, in /metrics. */
  setMetric(name: string, value: unknown): void {
    this.metrics[name] = value
  }

  /** Finds the model file under `modelPath`, reads its spec file into `modelSpec` and its parameters into `params`. */
  async getModel(suffix = ''): Promise<{ modelFile: string; extraData: Record<string, unknown> }> {
    const { modelFile, extraData, spec } = await readModel(this.modelPath, suffix)
    if (spec !== undefined) {
      this.modelSpec = spec
      Object.assign(this.params, spec.parameters)
      if (isPlainObject(spec.labels)) Object.assign(this.labels, spec.labels)
    }
    return { modelFile, extraData }
  }
}

export type ModelClass = new (options: ModelOptions) => V2ModelServer<object>

/** The two `inputs` errors of protocol `v2`. */
export function checkInputs(request: object): void {
  const inputs: unknown = Reflect.get(request, 'inputs')
  if (inputs === undefined) throw new Exception('Expected key "inputs" in request body')
  if (!Array.isArray(inputs)) throw new Exception('Expected "inputs" to be a list')
}

const operationName = /^[A-Za-z0-9_]+$/

/** The custom operation `op_<name>` of a model, bound to it, if it has one. */
export function customOperation(
  model: V2ModelServer<object>,
  name: string,
): ((event: ModelEvent) => unknown) | undefined {
  if (!operationName.test(name)) return undefined
  const found: unknown = Reflect.get(model, `op_${name}`)
  return typeof found === 'function' ? (event) => Reflect.apply(found, model, [event]) : undefined
}

/** Names of a model's custom operations, without `op_`. */
export function customOperations(model: V2ModelServer<object>): string[] {
  const names = new Set<string>()
  for (let at: unknown = model; at instanceof V2ModelServer; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) if (name.startsWith('op_')) names.add(name.slice(3))
  }
  return [...names].filter((name) => customOperation(model, name) !== undefined)
}
