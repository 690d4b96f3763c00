/** The router whose models vote (specification, 6). Owns its URLs, answer and record; the arithmetic is voting.ts. */

import { type Executor, runChildren } from './children.ts'
import { errorText, RuntimeError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import { IllegalOperation, ModelMissing } from './faults.ts'
import { checkInputs } from './model.ts'
import { modelPath } from './model-path.ts'
import { textReply } from './reply.ts'
import { ModelRouter, type RouterOptions } from './router.ts'
import type { RouteTable } from './routes.ts'
import type { HostServices } from './settings.ts'
import {
  endpointUid,
  modelString,
  Recorder,
  registerEndpoint,
  type Start,
  startClock,
} from './tracking/index.ts'
import { checkWeights, predictionsOf, type VoteType, vote, voteTypeOf } from './voting.ts'

export interface VotingEnsembleOptions extends RouterOptions {
  /** Default: decided by the first vote; all values integral = `classification`. */
  voteType?: VoteType
  /** By route key. Default: 1/n each. */
  weights?: Record<string, number>
  /** Divides the weights by their sum. Default false. */
  normalizeWeights?: boolean
  /** Default `thread`. */
  executor?: Executor
  /** Children answer `{<predictionColName>: list}`, and so does the ensemble. Default false. */
  formatResponse?: boolean
  /** Default `prediction`. */
  predictionColName?: string
  /** Default `VotingEnsemble`. */
  name?: string
  /** Default `v1`. */
  version?: string
}

const voteOps = new Set(['infer', 'predict', 'explain'])

export class VotingEnsemble extends ModelRouter {
  readonly name: string
  readonly version: string
  readonly #options: VotingEnsembleOptions
  readonly #column: string | undefined
  #voteType: VoteType | undefined
  #weights: Record<string, number> | undefined
  #recorder: Recorder | undefined

  constructor(options: VotingEnsembleOptions = {}) {
    super(options)
    this.name = options.name ?? 'VotingEnsemble'
    this.version = options.version ?? 'v1'
    this.#options = options
    this.#column = options.formatResponse === true ? (options.predictionColName ?? 'prediction') : undefined
    this.#voteType = options.voteType
  }

  override get hasChildren(): boolean {
    return true
  }

  override attach(routes: RouteTable, services: HostServices): void {
    super.attach(routes, services)
    const { weights, normalizeWeights = false } = this.#options
    this.#weights = checkWeights(weights, routes.keys(), normalizeWeights)
    if (services.tracking === undefined) return
    const none = () => ({})
    const tracked = {
      className: this.constructor.name,
      name: this.name,
      version: this.version,
      labels: none,
      metrics: none,
    }
    this.#recorder = new Recorder(tracked, services.tracking, {
      worker: services.context.workerId,
      onFailure: (_, error) =>
        services.context.logger.error({ error: errorText(error) }, 'vote not recorded'),
    })
  }

  override async started(): Promise<void> {
    const { endpoints, tracking, context } = this.services
    if (endpoints === undefined) return
    const { store, functionUri, trackModels } = endpoints
    const onError = (error: unknown) =>
      context.logger.error({ error: errorText(error) }, 'endpoint record not written')
    try {
      const children = this.routes.listed()
      const uids = children.map(({ name, version }) => endpointUid(functionUri, modelString(name, version)))
      const endpoint = {
        functionUri,
        name: this.name,
        version: this.version,
        modelClass: this.constructor.name,
        modelPath: '',
        streamPath: tracking?.streamPath ?? '',
        trackModels,
        endpointType: 2,
        children: { names: children.map(({ key }) => key), uids },
      } as const
      await registerEndpoint(store, endpoint, onError)
    } catch (error) {
      onError(error)
    }
  }

  override async stopped(): Promise<void> {
    await this.#recorder?.flush()
  }

  protected override list(): object {
    const { weights } = this.#options
    const shown = weights && Object.fromEntries(this.routes.keys().map((key) => [key, weights[key] ?? 0]))
    return { models: [...this.routes.keys(), this.name], weights: shown ?? null }
  }

  protected override missing(key: string): Error {
    const available = [...this.routes.keys(), this.name]
    return new ModelMissing(key, available, ' or an operation alone for ensemble operation')
  }

  /** Several routes read the body. */
  override keepsBytes(): boolean {
    return false
  }

  protected override async answer(event: ModelEvent): Promise<unknown> {
    const start = startClock()
    const { path, body } = event
    const asked = isPlainObject(body) && typeof body.operation === 'string' ? body.operation : ''
    if (path === '' || path === '/') return this.#own(event, asked || 'infer', start)
    const { key, op } = modelPath(path.slice(this.urlPrefix.length))
    if (key === '') return this.list()
    if (op === '' && voteOps.has(key)) return this.#own(event, asked || key, start)
    if (key === this.name) return this.#own(event, asked || op, start)
    const route = this.routes.find(key)
    if (route === undefined) throw this.missing(key)
    checkBody(event)
    return route.run(event, asked || op)
  }

  async #own(event: ModelEvent, urlOp: string, start: Start): Promise<unknown> {
    const { method } = event
    checkBody(event)
    if (method === 'GET' && urlOp === '') return this.#metadata()
    if (method === 'GET' && urlOp === 'ready') return this.#ready(event)
    const op = urlOp || 'infer'
    if (!voteOps.has(op)) throw new IllegalOperation(op, method)
    return this.#vote(event, op, start)
  }

  async #vote(event: ModelEvent, op: string, start: Start): Promise<object> {
    const sent = isPlainObject(event.body) ? event.body : {}
    const body = sent.id === undefined ? { ...sent, id: event.id } : sent
    const routes = this.routes.listed()
    const results = await runChildren(routes, event.copy({ body }), op, {
      executor: this.#options.executor ?? 'thread',
      services: this.services,
      none: (cause) => new RuntimeError(`no model of ${this.name} answered`, { cause }),
    })
    const ballots = results.map(({ key, value }) => ({
      weight: this.#weights === undefined ? 1 / routes.length : (this.#weights[key] ?? 0),
      predictions: predictionsOf(key, value, this.#column),
    }))
    this.#voteType ??= voteTypeOf(ballots)
    const votes = vote(ballots, this.#voteType)
    const outputs = this.#column === undefined ? votes : { [this.#column]: votes }
    const answer = { id: event.id, model_name: this.name, outputs, model_version: this.version }
    this.#recorder?.success({ start, op: null, request: body, resp: answer, trace: event.trace })
    return answer
  }

  #metadata(): object {
    const specs = this.routes.listed().map(({ host }) => host?.model.modelSpec)
    const inputs = specs.find((spec) => spec?.inputs?.length)?.inputs ?? []
    const outputs = specs.find((spec) => spec?.outputs?.length)?.outputs ?? []
    return { name: this.name, version: this.version, inputs, outputs }
  }

  #ready(event: ModelEvent): unknown {
    const ready = this.routes.listed().every(({ host }) => host === undefined || host.isReady)
    return ready ? `Model ${this.name} is ready (event_id = ${event.id})` : textReply('model not ready', 408)
  }
}

/** The two `inputs` errors, on every call that is no GET. */
function checkBody(event: ModelEvent): void {
  if (event.method !== 'GET') checkInputs(isPlainObject(event.body) ? event.body : {})
}
