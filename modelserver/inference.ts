/** The way of one infer, predict or explain request through a model's hooks, to the envelope and its record (3.5, 4.1). */

import { extract } from './body-path.ts'
import { RequestContext } from './context.ts'
import { rowsFromDicts } from './dict-ops.ts'
import { errorMessage, errorText, HttpError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { namedUnwritten } from './faults.ts'
import type { ModelHost } from './host.ts'
import { oipEnvelope, readRequest } from './oip.ts'
import { ensureReady } from './readiness.ts'
import { isAsyncIterable, plainList } from './reply.ts'
import type { Slot } from './scheduling/index.ts'
import { checkRequestedOutputs, type InferRequest, snapshotTensor } from './tensors/index.ts'
import { formatWhen, loggedPair, startClock } from './tracking/index.ts'

export type Hook = 'predict' | 'explain'

/** `envelope` is what postprocess returned. `tensors` is the decoded request of protocol `oip`. */
export interface Answered {
  readonly envelope: unknown
  readonly tensors: InferRequest | undefined
}

/** `predict` gave an async iterable to a V1 call: the caller streams it and calls `closed` at the end, once. */
export interface Streamed {
  readonly stream: AsyncIterable<unknown>
  readonly ctx: RequestContext
  /** Frees the slot and writes the record. */
  closed(values: unknown[], error: unknown): void
}

export interface Asked {
  readonly op: string
  readonly hook: Hook
  /** The model's protocol, or `v1`. */
  readonly protocol: string
}

/** Throws what a hook throws, `ModelNotReady`, `OverloadedError` (429, 503) or a 504. */
export async function answer(host: ModelHost, event: ModelEvent, asked: Asked): Promise<Answered | Streamed> {
  const start = startClock()
  const waiting = ensureReady(host, event, host.services.readinessWait)
  if (waiting !== undefined) await waiting
  host.queue.enter()
  let streaming = false
  let slot: Slot | undefined
  try {
    const body = host.inputPath === undefined ? event.body : extract(event.body, host.inputPath)
    const tensors = asked.protocol === 'oip' ? readRequest(event, body, host.tensorInputs) : undefined
    const sent = tensors ?? objectOf(body, asked.op, host)
    const id: unknown = Reflect.get(sent, 'id') ?? event.id
    const ctx = new RequestContext(event, id, asked.op, asked.protocol, start)
    const request = await prepare(host, sent, ctx, tensors)
    if (mayStream(host, asked)) slot = await host.queue.acquire(ctx)
    const outputs = await callHook(host, asked, request, ctx, slot)
    if (slot !== undefined && isAsyncIterable(outputs)) {
      streaming = true
      return { stream: outputs, ctx, closed: closing(host, slot, request, ctx) }
    }
    return await finish(host, asked, request, outputs, ctx, tensors)
  } finally {
    if (!streaming) {
      slot?.free()
      host.queue.leave()
    }
  }
}

/** Whether a stream may come of the call, whose slot then is held until it ends. */
function mayStream(host: ModelHost, { hook, protocol }: Asked): boolean {
  return protocol === 'v1' && hook === 'predict' && host.batcher === undefined
}

function closing(host: ModelHost, slot: Slot, request: object, ctx: RequestContext): Streamed['closed'] {
  return (values, error) => {
    slot.free()
    host.queue.leave()
    if (error !== undefined) recordFailure(host, request, ctx, error)
    else {
      const resp = { id: ctx.id, model_name: host.name, outputs: values }
      const { start, op, trace } = ctx
      host.recorder?.success({ start, op, request: recorded(request), resp, trace })
    }
  }
}

/** The request object of protocols without tensors; with a dict op its inputs as rows. */
function objectOf(body: unknown, op: string, host: ModelHost): Record<string, unknown> {
  const request = isPlainObject(body) ? body : {}
  if (op !== 'infer_dict' && op !== 'predict_dict') return request
  return { ...request, inputs: rowsFromDicts(request.inputs, host.model.modelSpec?.inputs) }
}

async function prepare(
  host: ModelHost,
  sent: object,
  ctx: RequestContext,
  tensors: InferRequest | undefined,
): Promise<object> {
  const { model } = host
  const fromMs = performance.now()
  const request = await model.validate(await model.preprocess(sent, ctx.op, ctx), ctx.op, ctx)
  if (tensors !== undefined && ctx.op !== 'explain') {
    checkRequestedOutputs(tensors, host.tensorOutputs)
  }
  host.metrics.preprocess((performance.now() - fromMs) / 1000)
  return request
}

/** predict or explain under the queue's limits, or as part of a batch. A throw is recorded. */
async function callHook(
  host: ModelHost,
  asked: Asked,
  request: object,
  ctx: RequestContext,
  slot: Slot | undefined,
): Promise<unknown> {
  const { model, queue, batcher } = host
  const work = async () => {
    const fromMs = performance.now()
    try {
      const result = await model[asked.hook](request, ctx)
      return slot === undefined && isAsyncIterable(result) ? await Array.fromAsync(result) : result
    } finally {
      host.metrics[asked.hook]((performance.now() - fromMs) / 1000)
    }
  }
  try {
    if (batcher !== undefined && asked.hook === 'predict') return await batcher.run(request, ctx)
    return await (slot === undefined ? queue.run(ctx, work) : slot.within(work()))
  } catch (error) {
    recordFailure(host, request, ctx, error)
    throw asked.protocol === 'oip' || asked.protocol === 'v1'
      ? namedUnwritten(error, asked.hook, model.name)
      : error
  }
}

/** An exception of the model: not the server's own turning away. */
function recordFailure(host: ModelHost, request: object, ctx: RequestContext, error: unknown): void {
  if (host.recorder === undefined || isRefusal(error)) return
  const { start, op, id, trace } = ctx
  const { verbose } = host.services.context
  const text =
    verbose && error instanceof Error ? `${errorMessage(error)}\n${error.stack}` : errorMessage(error)
  host.recorder.error({ start, op, request: recorded(request), id, error: text, trace })
}

async function finish(
  host: ModelHost,
  asked: Asked,
  request: object,
  result: unknown,
  ctx: RequestContext,
  tensors: InferRequest | undefined,
): Promise<Answered> {
  const { model } = host
  const fromMs = performance.now()
  const before = envelopeOf(host, asked, result, ctx, tensors)
  const envelope = await model.postprocess(before, ctx)
  host.metrics.postprocess((performance.now() - fromMs) / 1000)
  if (host.recorder !== undefined) await record(host, request, envelope, ctx)
  return { envelope, tensors }
}

function envelopeOf(
  host: ModelHost,
  { hook }: Asked,
  result: unknown,
  ctx: RequestContext,
  tensors: InferRequest | undefined,
): object {
  const { model, services } = host
  if (tensors !== undefined && hook === 'predict') {
    return oipEnvelope(model, ctx, result, tensors, host.tensorOutputs)
  }
  const envelope: Record<string, unknown> = { id: ctx.id, model_name: model.name, outputs: plainList(result) }
  if (hook === 'predict' && services.timestamps) envelope.timestamp = formatWhen(ctx.start.epochMs)
  if (model.version !== '') envelope.model_version = model.version
  return envelope
}

async function record(
  host: ModelHost,
  request: object,
  envelope: unknown,
  ctx: RequestContext,
): Promise<void> {
  const { start, op, trace } = ctx
  try {
    const logged = await host.model.loggedResults(request, envelope, op)
    const pair = loggedPair(ctx.id, recorded(request), recorded(envelope), logged)
    host.recorder?.success({ start, op, ...pair, trace })
  } catch (error) {
    host.services.context.logger.error({ model: host.key, error: errorText(error) }, 'loggedResults failed')
  }
}

/** Tensors in a form that JSON holds; other values as they are (the recorder takes the snapshot). */
function recorded(value: unknown): unknown {
  if (!isPlainObject(value)) return value
  const shown: Record<string, unknown> = { ...value }
  if (isTensorList(value.inputs)) shown.inputs = value.inputs.map(snapshotTensor)
  if (isTensorList(value.outputs)) shown.outputs = value.outputs.map(snapshotTensor)
  return shown
}

function isTensorList(value: unknown): value is InferRequest['inputs'] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => isPlainObject(item) && 'datatype' in item)
  )
}

/** The server turned the request away: not an exception of the model. */
function isRefusal(error: unknown): boolean {
  return error instanceof HttpError && (error.status === 429 || error.status === 503)
}
