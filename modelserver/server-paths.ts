/** The server's own paths: health, metadata, metrics, OpenAPI, repository, KServe V1 (3.1). First match wins. */

import { docsPage, docsScript } from './docs-page.ts'
import { errorText } from './errors.ts'
import type { ServedModels } from './http/served-models.ts'
import type { Incoming } from './incoming.ts'
import { KServeV1 } from './kserve-v1.ts'
import { openapiDocument } from './openapi.ts'
import { errorReply, jsonReply, Reply } from './reply.ts'
import { Repository } from './repository.ts'
import type { ServerServices } from './settings.ts'

type Answer = () => Promise<Reply> | Reply

const docsPaths: [string, Answer][] = [
  ['/docs', docsPage],
  ['/docs/reference.js', docsScript],
]

export class ServerPaths {
  readonly repository: Repository
  readonly #server: ServedModels
  readonly #services: ServerServices
  readonly #v1: KServeV1
  readonly #gets: ReadonlyMap<string, Answer>

  constructor(server: ServedModels, services: ServerServices) {
    this.#server = server
    this.#services = services
    this.repository = new Repository(server.routes, services)
    this.#v1 = new KServeV1(server.routes, services, server.router?.urlPrefix !== '/v1/models')
    this.#gets = new Map<string, Answer>([
      ['/v2', () => this.#metadata()],
      ['/v2/health/live', () => jsonReply({ live: true })],
      ['/v2/health/ready', () => this.#ready()],
      ['/metrics', async () => new Reply(200, services.metrics.contentType, await services.metrics.render())],
      ['/openapi.json', () => jsonReply(openapiDocument(server))],
      // A single model mounted at `/` owns every other path.
      ...(server.router === undefined ? [] : docsPaths),
    ])
  }

  /** The answer of a path of the server's own; undefined: the router is asked. Errors are JSON. */
  answer(incoming: Incoming): Promise<Reply> | undefined {
    const found = this.#find(incoming)
    return found === undefined ? undefined : this.#safely(found)
  }

  #find(incoming: Incoming): Answer | undefined {
    const { method, path } = incoming
    if (method === 'GET' || method === 'HEAD') return this.#gets.get(path) ?? this.#v1.get(path)
    if (method !== 'POST') return undefined
    if (path.startsWith('/v1/models/')) return this.#v1.post(path, incoming)
    if (path.startsWith('/v2/repository/') && this.#server.options.repositoryApi !== false) {
      return this.repository.post(path, incoming.body)
    }
    return undefined
  }

  async #safely(answer: Answer): Promise<Reply> {
    try {
      return await answer()
    } catch (error) {
      this.#services.context.logger.error({ error: errorText(error, true) }, 'server path failed')
      return errorReply(errorText(error), 500)
    }
  }

  #metadata(): Reply {
    const { name = 'perdure', version = '', repositoryApi = true } = this.#server.options
    const extensions = ['binary_tensor_data', ...(repositoryApi ? ['model_repository'] : []), 'generate']
    return jsonReply({ name, version, extensions })
  }

  #ready(): Reply {
    const hosts = this.#server.routes.listed().flatMap(({ host }) => host ?? [])
    const ready = this.#server.state === 'started' && hosts.length > 0 && hosts.every((host) => host.isReady)
    return ready ? jsonReply({ ready: true }) : errorReply('Server is not ready.', 503)
  }
}
