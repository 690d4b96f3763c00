/** The `generate` hook over HTTP: all chunks joined, or a stream of frames (specification, 7.4). */

import { RequestContext } from './context.ts'
import { errorMessage, HttpError, InvalidInput } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { jsonMessage } from './faults.ts'
import type { ModelHost } from './host.ts'
import { ensureReady } from './readiness.ts'
import { jsonReply, jsonText, Reply } from './reply.ts'
import { abortable, type StreamFormat, sseBlock, streamText } from './stream.ts'
import { startClock } from './tracking/index.ts'

const eventStream = 'text/event-stream'

/** A generation that has been let in and has given its first value. */
export interface Generation {
  readonly ctx: RequestContext
  readonly values: AsyncIterator<string | object>
  readonly first: IteratorResult<string | object>
  /** Frees the slot and writes the record. Call once. */
  closed(values: unknown[], error: unknown): void
}

/** Body `{id?, text_input, parameters?}`; `op` is `generate` or `generate_stream`. */
export async function runGenerate(host: ModelHost, event: ModelEvent, op: string): Promise<Reply> {
  const body = isPlainObject(event.body) ? event.body : {}
  requireHook(host)
  if (typeof body.text_input !== 'string') throw new InvalidInput('Expected "text_input" to be a string')
  const generation = await beginGeneration(host, event, body, op, host.protocol)
  const { ctx } = generation
  const base = { id: ctx.id, model_name: host.name, ...versionOf(host) }
  if (op === 'generate') return jsonReply({ ...base, text_output: await joined(generation) })
  const format: StreamFormat = {
    contentType: eventStream,
    value: (value) =>
      sseBlock(jsonText(isPlainObject(value) ? { ...base, ...value } : { ...base, text_output: value })),
    error: (text) => sseBlock(JSON.stringify({ error: text })),
    ping: ': ping\n\n',
  }
  return streamReply(host, generation, format)
}

/** Queue, readiness and the first value: what fails here still has a status of its own. */
export async function beginGeneration(
  host: ModelHost,
  event: ModelEvent,
  body: Record<string, unknown>,
  op: string,
  protocol: string,
): Promise<Generation> {
  const start = startClock()
  requireHook(host)
  const waiting = ensureReady(host, event, host.services.readinessWait)
  if (waiting !== undefined) await waiting
  host.queue.enter()
  const ctx = new RequestContext(event, body.id ?? event.id, op, protocol, start)
  const track = (values: unknown[], error: unknown) => {
    const entry = { start, op, request: body, trace: ctx.trace }
    if (error === undefined) host.recorder?.success({ ...entry, resp: outcome(host, ctx, values) })
    else host.recorder?.error({ ...entry, id: ctx.id, error: errorMessage(error) })
  }
  const slot = await host.queue.acquire(ctx).catch((error: unknown) => {
    host.queue.leave()
    throw error
  })
  const closed = (values: unknown[], error: unknown) => {
    slot.free()
    host.queue.leave()
    track(values, error)
  }
  try {
    const values = abortable(requireHook(host)(body, ctx), ctx.signal, host.queue)
    return { ctx, values, first: await values.next(), closed }
  } catch (error) {
    closed([], error)
    throw error
  }
}

/** A reply that streams a generation in the given format. */
export function streamReply(host: ModelHost, generation: Generation, format: StreamFormat): Reply {
  const { values, first, closed } = generation
  const { pingMs } = host.services
  const body = streamText({ values, first, format, pingMs, fault: jsonMessage, closed })
  return new Reply(200, format.contentType, body, { 'cache-control': 'no-cache' })
}

async function joined({ values, first, closed }: Generation): Promise<string> {
  const all: unknown[] = []
  let failure: unknown
  try {
    for (let next = first; !next.done; next = await values.next()) all.push(next.value)
    return textOf(all)
  } catch (error) {
    failure = error
    throw error
  } finally {
    closed(all, failure)
  }
}

function outcome(host: ModelHost, ctx: RequestContext, values: unknown[]): object {
  return { id: ctx.id, model_name: host.name, ...versionOf(host), text_output: textOf(values) }
}

/** Strings, and the `text_output` of objects, one behind the other. */
function textOf(values: readonly unknown[]): string {
  return values
    .map((value) => (isPlainObject(value) ? value.text_output : value))
    .filter((text) => typeof text === 'string')
    .join('')
}

function versionOf(host: ModelHost): { model_version?: string } {
  return host.model.version === '' ? {} : { model_version: host.model.version }
}

type GenerateHook = (body: Record<string, unknown>, ctx: RequestContext) => AsyncIterable<string | object>

function requireHook({ model }: ModelHost): GenerateHook {
  if (model.generate === undefined)
    throw new HttpError(501, `generate is not implemented for model ${model.name}`)
  return model.generate.bind(model)
}
