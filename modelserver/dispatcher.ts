/** From an event to the reply: body decoding, the router or the single model, and every error's form (3.2, 4.3). */

import type { ModelEvent } from './event.ts'
import { bodyText, type ErrorForm, faultReply, faultStatus, isBeforeModel } from './faults.ts'
import { decodeBody } from './format.ts'
import { trimSlashes } from './model-path.ts'
import { type Reply, render } from './reply.ts'
import type { ModelRouter } from './router.ts'
import type { Route } from './routes.ts'
import type { ServerServices } from './settings.ts'

const generatePath = /\/generate(?:_stream)?\/?$/

export class Dispatcher {
  readonly #services: ServerServices
  readonly #target: ModelRouter | Route

  /** `target`: the router, or the one model of a server without router. */
  constructor(target: ModelRouter | Route, services: ServerServices) {
    this.#target = target
    this.#services = services
  }

  /** Never rejects. `fault`: what kept the transport from reading the body. */
  async answer(event: ModelEvent, fault?: Error): Promise<Reply | Response> {
    try {
      if (fault !== undefined) throw fault
      return render(await this.#run(event))
    } catch (error) {
      return this.#failed(event, error)
    }
  }

  async #run(event: ModelEvent): Promise<unknown> {
    const target = this.#target
    if (!('settings' in target)) {
      if (event.body instanceof Uint8Array && !target.keepsBytes(event)) this.#decode(event)
      return target.run(event)
    }
    const op = trimSlashes(event.path)
    if (target.host?.readsTensors(op) !== true) this.#decode(event)
    return target.run(event, op)
  }

  #decode(event: ModelEvent): void {
    // An explicit type that is wrong is an error; a default that does not fit leaves the body as it came.
    const explicit = event.headers['content-type'] !== undefined
    decodeBody(event, explicit, this.#protocolOf(event) === 'oip')
  }

  #failed(event: ModelEvent, error: unknown): Reply {
    const services = this.#services
    const form = this.#formOf(event)
    const { verbose } = services.context
    if (services.errorStream !== undefined) {
      services.errorStream.push({ id: event.id, body: shown(event.body) }, bodyText(error, verbose))
    }
    if (isBeforeModel(error)) {
      const status = faultStatus(error, form)
      services.metrics.request({ model: '', version: '', op: '', protocol: this.#protocolOf(event), status })
    }
    return faultReply(error, form, verbose)
  }

  #formOf(event: ModelEvent): ErrorForm {
    return this.#protocolOf(event) === 'oip' || generatePath.test(event.path) ? 'json' : 'text'
  }

  #protocolOf(event: ModelEvent): string {
    const target = this.#target
    const named = 'settings' in target ? target.protocol : target.protocolOf(event)
    return named ?? this.#services.protocol
  }
}

/** Bodies that nothing parsed are shown as text. */
function shown(body: unknown): unknown {
  return body instanceof Uint8Array ? Buffer.from(body).toString('utf8') : (body ?? null)
}
