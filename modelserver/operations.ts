/** Which operation of a model a request asks for, and its answer before rendering (3.5). Resolves no routes. */

import { isPlainObject, type ModelEvent } from './event.ts'
import { faultStatus, IllegalOperation, MethodNotAllowed, ModelNotReady } from './faults.ts'
import { runGenerate } from './generate.ts'
import type { ModelHost } from './host.ts'
import { type Asked, answer, type Hook } from './inference.ts'
import { customOperation } from './model.ts'
import { oipMetadata, writeAnswer } from './oip.ts'
import { placeResult, Reply, textReply } from './reply.ts'

/** Runs one operation; `urlOp` is the path behind the model. The caller renders the result (reply.ts). */
export async function runOperation(host: ModelHost, event: ModelEvent, urlOp: string): Promise<unknown> {
  const op = operationOf(host, event, urlOp)
  const original = host.resultPath === undefined ? undefined : untouched(host, event.body)
  const hook = hookOf(host, op)
  if (hook !== undefined) {
    if (host.protocol === 'oip' && event.method !== 'POST') throw new MethodNotAllowed('POST')
    return placed(host, original, await infer(host, event, { op, hook, protocol: host.protocol }))
  }
  const { method } = event
  if (method === 'GET' && op === 'ready') return readyAnswer(host, event)
  if (method === 'GET' && op === '') return placed(host, original, metadata(host))
  if (isGenerate(host, op)) {
    if (method === 'POST') return counted(host, op, host.protocol, () => runGenerate(host, event, op))
    if (host.protocol === 'oip') throw new MethodNotAllowed('POST')
  }
  const custom = customOperation(host.model, op)
  if (custom !== undefined) return placed(host, original, await custom(event))
  if (host.protocol === 'oip' && op === 'ready') throw new MethodNotAllowed('GET')
  throw new IllegalOperation(op, method)
}

/** Counts a request of a model by its status. */
export async function counted<T>(
  host: ModelHost,
  op: string,
  protocol: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    const result = await work()
    host.metrics.request(op, protocol, result instanceof Reply ? result.status : 200)
    return result
  } catch (error) {
    const json = protocol === 'oip' || protocol === 'v1' || op.startsWith('generate')
    host.metrics.request(op, protocol, faultStatus(error, json ? 'json' : 'text'))
    throw error
  }
}

async function infer(host: ModelHost, event: ModelEvent, asked: Asked): Promise<unknown> {
  return counted(host, asked.op, asked.protocol, async () => {
    const answered = await answer(host, event, asked)
    if ('stream' in answered) throw new TypeError('only V1 calls stream')
    const { envelope, tensors } = answered
    return tensors === undefined ? envelope : writeAnswer(envelope, tensors)
  })
}

function operationOf(host: ModelHost, event: ModelEvent, urlOp: string): string {
  if (urlOp !== '') return urlOp
  const { body } = event
  const asked = host.protocol !== 'oip' && isPlainObject(body) ? body.operation : undefined
  if (typeof asked === 'string' && asked !== '') return asked
  return event.method === 'GET' ? '' : 'infer'
}

function hookOf(host: ModelHost, op: string): Hook | undefined {
  if (op === 'infer') return 'predict'
  if (op === 'explain') return 'explain'
  if (host.protocol === 'oip') return undefined
  if (op === 'predict') return 'predict'
  return host.services.dictOps && (op === 'infer_dict' || op === 'predict_dict') ? 'predict' : undefined
}

/** Protocol `oip` knows the two operations even where the hook is missing: that is a 501. */
function isGenerate(host: ModelHost, op: string): boolean {
  if (op !== 'generate' && op !== 'generate_stream') return false
  return host.model.generate !== undefined || host.protocol === 'oip'
}

function readyAnswer(host: ModelHost, event: ModelEvent): unknown {
  const { name } = host
  if (host.protocol === 'oip') {
    if (!host.isReady) throw new ModelNotReady(name)
    return { name, ready: true }
  }
  return host.isReady ? `Model ${name} is ready (event_id = ${event.id})` : textReply('model not ready', 408)
}

/** With `state` and `reason` only where something is wrong: the specified form has neither. */
function metadata(host: ModelHost): object {
  const { model, condition } = host
  const trouble = condition.reason === '' ? {} : condition
  if (host.protocol === 'oip') {
    return { ...oipMetadata(model, host.services.versionsOf(model.name)), ...trouble }
  }
  const { name, version, modelSpec } = model
  return { name, version, inputs: modelSpec?.inputs ?? [], outputs: modelSpec?.outputs ?? [], ...trouble }
}

/** Hooks may write into the body they get; the answer is placed into the body as it came. Tensors are copies already. */
function untouched(host: ModelHost, body: unknown): unknown {
  return host.protocol === 'oip' ? body : structuredClone(body)
}

/** The result at `resultPath` of the original body; without a body or a path the result itself. */
function placed(host: ModelHost, original: unknown, result: unknown): unknown {
  if (host.resultPath === undefined || original === undefined) return result
  return placeResult(original, host.resultPath, result)
}
