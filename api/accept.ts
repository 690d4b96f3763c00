/** From a request's body and headers to an accepted request: every check before anything is written. */
import { hash } from 'node:crypto'
import { ServiceError } from '../contracts/errors.ts'
import { isJsonObject, printJson } from '../contracts/json.ts'
import { traceHeader, traceparentOf } from '../contracts/trace.ts'
import { finalInputs, takesUploads } from '../platforms/inputs.ts'
import type { ModelRoute, Routing } from '../platforms/routing.ts'
import type { WebhookOrder } from '../records/store.ts'
import { activeTrace } from '../tracing.ts'
import { cancelAfterMsOf } from './deadline.ts'
import type { AcceptedRequest } from './predictions.ts'
import { noteSubject } from './subject.ts'
import type { ApiContext } from './surface.ts'

/** A request whose fields have the right types; nothing is known of its model yet. */
export interface Asked {
  modelName: string
  inputs: Record<string, unknown>
}

/** Reads the two members of the inherited body (2.1); others are ignored. Throws `invalid_input` naming the field. */
export function askedIn(body: Record<string, unknown>): Asked {
  const { model_name: modelName, inputs } = body
  requireModelName(modelName)
  if (!isJsonObject(inputs)) throw invalid('inputs', inputs, 'an object')
  return { modelName, inputs }
}

export function requireModelName(modelName: unknown): asserts modelName is string {
  if (typeof modelName !== 'string' || modelName === '') {
    throw invalid('model_name', modelName, 'a non-empty string')
  }
}

/** Names are search attributes in Temporal, and lie in one with others'. */
function requireShortName(modelName: string): void {
  if (Buffer.byteLength(modelName) <= longestNameBytes) return
  throw new ServiceError('invalid_input', `model_name must be at most ${longestNameBytes} bytes`)
}

const longestNameBytes = 512

function invalid(field: string, value: unknown, wanted: string): ServiceError {
  const fault = value === undefined ? 'is required' : `must be ${wanted}`
  return new ServiceError('invalid_input', `${field} ${fault}`)
}

const keyForm = /^[\x21-\x7e]{1,255}$/
const uidForm = /^[\x20-\x7e]{0,255}$/

/** `Idempotency-Key` of the request, checked; undefined without one. */
export function idempotencyKeyOf(c: ApiContext): string | undefined {
  const key = c.req.header('idempotency-key')
  if (key !== undefined && !keyForm.test(key)) {
    throw new ServiceError('invalid_input', 'Idempotency-Key must be 1 to 255 printable ASCII characters')
  }
  return key
}

/** Where the model uploads files of one prediction. */
type UploadAddress = (predictionId: string) => string

/** An accepted request that still knows its line of the routing table. */
export type RoutedRequest = AcceptedRequest & { target: ModelRoute }

/** Prints the final inputs and takes what the headers say. Throws `invalid_input`, `invalid_header`. */
export function accept(
  c: ApiContext,
  target: ModelRoute,
  inputs: Record<string, unknown>,
  uploadWebhook: UploadAddress,
  webhook?: WebhookOrder,
): RoutedRequest {
  requireShortName(target.name)
  const key = idempotencyKeyOf(c)
  const priority = priorityOf(c)
  const cancelAfterMs = cancelAfterMsOf(c.req.header('cancel-after'))
  const request: RoutedRequest = {
    target,
    inputs: print(finalInputs(inputs, target)),
    uid: uidOf(c),
    onId: (prediction, workflow) => noteSubject(c, { prediction, ...(workflow && { workflow }) }),
  }
  const trace = activeTrace() ?? traceparentOf(c.req.header(traceHeader))
  if (trace !== undefined) request.trace = trace
  if (takesUploads(target)) request.uploadAddress = uploadWebhook
  if (webhook !== undefined) request.webhook = webhook
  if (cancelAfterMs !== undefined) request.cancelAfterMs = cancelAfterMs
  if (priority !== undefined) request.priority = priority
  // The caller's own inputs count: what this service adds may differ between two equal requests.
  if (key !== undefined) {
    const told = webhook === undefined ? '' : `\n${webhook.url}\n${webhook.events.join()}`
    const asked = `${target.name}\n${print(inputs)}${told}`
    request.idempotency = { key, fingerprint: hash('sha256', asked, 'base64url') }
  }
  return request
}

/** The inherited body in one step: fields, routing, final inputs. */
export function acceptAsked(
  c: ApiContext,
  asked: Asked,
  routing: Pick<Routing, 'resolve'>,
  uploadWebhook: UploadAddress,
): RoutedRequest {
  return accept(c, routing.resolve(asked.modelName), asked.inputs, uploadWebhook)
}

function print(inputs: Readonly<Record<string, unknown>>): string {
  try {
    return printJson(inputs)
  } catch (cause) {
    throw new ServiceError('invalid_input', 'inputs are nested too deeply', { cause })
  }
}

function uidOf(c: ApiContext): string {
  const uid = c.req.header('uid') ?? ''
  if (!uidForm.test(uid))
    throw new ServiceError('invalid_input', 'UID must be at most 255 printable ASCII characters')
  return uid
}

function priorityOf(c: ApiContext): number | undefined {
  const given = c.req.header('perdure-priority')
  if (given === undefined) return undefined
  if (!/^[1-5]$/.test(given))
    throw new ServiceError('invalid_input', 'Perdure-Priority must be 1 (first) to 5')
  return Number(given)
}
