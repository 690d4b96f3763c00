/** One model inside a server, from load to unload, with its queue, batcher, metrics and recorder. Refuses requests. */

import { within } from './abort.ts'
import { parseBodyPath } from './body-path.ts'
import { batchContext, type RequestContext } from './context.ts'
import { errorText, RuntimeError, ValueError } from './errors.ts'
import { type ModelClass, type ModelOptions, V2ModelServer } from './model.ts'
import type { Feature } from './model-spec.ts'
import { tensorSpecs } from './oip.ts'
import type { Readable } from './readiness.ts'
import { Batcher, listBatches, type ModelMetrics, ModelQueue, tensorBatches } from './scheduling/index.ts'
import type { HostServices, ModelSettings } from './settings.ts'
import type { TensorSpec } from './tensors/index.ts'
import { Recorder, registerEndpoint } from './tracking/index.ts'
import { warm } from './warmup.ts'

/** A model that hangs in its own clean-up must not keep the server from ending. */
const longestUnloadMs = 3000

export type HostState = 'READY' | 'LOADING' | 'UNLOADING' | 'UNAVAILABLE'

export class ModelHost implements Readable {
  readonly key: string
  readonly settings: ModelSettings
  readonly services: HostServices
  readonly model: V2ModelServer<object>
  readonly name: string
  readonly protocol: string
  readonly queue: ModelQueue
  readonly batcher: Batcher<RequestContext> | undefined
  readonly metrics: ModelMetrics
  readonly recorder: Recorder | undefined
  readonly inputPath: readonly string[] | undefined
  readonly resultPath: readonly string[] | undefined
  state: HostState = 'LOADING'
  readonly #specs: {
    [side in 'inputs' | 'outputs']?: { features: readonly Feature[] | undefined; specs: TensorSpec[] }
  } = {}
  failure = ''
  loading: Promise<void> = Promise.resolve()

  constructor(key: string, settings: ModelSettings, services: HostServices) {
    this.key = key
    this.settings = settings
    this.services = services
    const Model = modelClass(key, settings)
    this.model = new Model(constructorOptions(key, settings, services))
    this.name = this.model.name
    this.protocol = this.model.protocol
    this.inputPath = parseBodyPath(this.model.inputPath)
    this.resultPath = parseBodyPath(this.model.resultPath)
    this.metrics = this.watch()
    this.queue = new ModelQueue(key, settings, (reason) => this.metrics.rejected(reason))
    this.batcher = this.#makeBatcher()
    this.recorder = this.#makeRecorder()
  }

  get isReady(): boolean {
    return this.state === 'READY' && this.model.ready
  }

  /** What metadata, metrics and the repository index show. The reason is empty while nothing is wrong. */
  get condition(): { state: HostState; reason: string } {
    const { state, failure, model, queue } = this
    if (state !== 'READY') return { state, reason: failure }
    if (!model.ready) return { state: 'UNAVAILABLE', reason: model.error || 'the model says it is not ready' }
    const { overdue, timeoutMs } = queue
    const hangs = overdue === 0 ? '' : `requests over ${timeoutMs} ms that have not ended: ${overdue}`
    return { state, reason: hangs }
  }

  get isLeaving(): boolean {
    return this.state === 'UNLOADING'
  }

  /** The declared inputs that are tensors. */
  get tensorInputs(): readonly TensorSpec[] {
    return this.#declared('inputs', this.model.modelSpec?.inputs)
  }

  get tensorOutputs(): readonly TensorSpec[] {
    return this.#declared('outputs', this.model.modelSpec?.outputs)
  }

  /** Read at every request, and a model may set another spec at any time: remembered per list. */
  #declared(side: 'inputs' | 'outputs', features: readonly Feature[] | undefined): readonly TensorSpec[] {
    const known = this.#specs[side]
    if (known !== undefined && known.features === features) return known.specs
    const specs = tensorSpecs(features)
    this.#specs[side] = { features, specs }
    return specs
  }

  /** Whether the body of this operation goes to the tensor codec as bytes, unparsed. */
  readsTensors(op: string): boolean {
    if (this.protocol !== 'oip' || this.inputPath !== undefined || this.resultPath !== undefined) return false
    return op === '' || op === 'infer' || op === 'explain'
  }

  /** Makes this instance the one whose state /metrics shows for its key. */
  watch(): ModelMetrics {
    return this.services.metrics.model(this.name, this.model.version, {
      ready: () => this.isReady,
      condition: () => this.condition,
      overdue: () => this.queue.overdue,
      inFlight: () => this.queue.inFlight,
      queueDepth: () => this.queue.depth,
      metrics: () => this.model.metrics,
    })
  }

  /** Loads, warms up, writes the endpoint record. Rejects with `failed to load model <name>` and the cause. */
  load(): Promise<void> {
    this.state = 'LOADING'
    const loaded = this.#load()
    this.loading = loaded.catch(() => {})
    return loaded
  }

  async #load(): Promise<void> {
    const { model } = this
    try {
      if (model.model === undefined || model.model === null) await model.load()
      await model.warmup?.()
      for (const request of this.settings.warmup ?? []) await warm(model, request)
    } catch (error) {
      model.ready = false
      model.error = errorText(error)
      this.failure = model.error
      this.state = 'UNAVAILABLE'
      throw new RuntimeError(`failed to load model ${this.name}`, { cause: error })
    }
    await this.#register()
    model.ready = true
    this.state = 'READY'
  }

  /** Refuses new requests, waits for running ones, then lets the model clean up. */
  async unload(): Promise<void> {
    this.state = 'UNLOADING'
    this.queue.close('unloading')
    await this.queue.idle()
    await this.close()
    this.state = 'UNAVAILABLE'
  }

  /** Sends the last tracking records and calls the model's own clean-up; its failure is logged only. */
  async close(): Promise<void> {
    await this.recorder?.flush()
    try {
      const unloading = Promise.resolve(this.model.unload?.())
      if (await within(unloading, longestUnloadMs)) return
      throw new RuntimeError(`unload took longer than ${longestUnloadMs} ms`)
    } catch (error) {
      this.services.context.logger.error({ model: this.key, error: errorText(error) }, 'unload failed')
    }
  }

  async #register(): Promise<void> {
    const { endpoints, tracking, context } = this.services
    if (endpoints === undefined) return
    const uid = await registerEndpoint(
      endpoints.store,
      {
        functionUri: endpoints.functionUri,
        name: this.name,
        version: this.model.version,
        modelClass: this.model.constructor.name,
        modelPath: this.model.modelPath,
        streamPath: tracking?.streamPath ?? '',
        trackModels: endpoints.trackModels,
        labels: this.model.labels,
        endpointType: endpoints.endpointType,
      },
      (error) =>
        context.logger.error({ model: this.key, error: errorText(error) }, 'endpoint record not written'),
    )
    this.model.modelEndpointUid = uid
  }

  #makeBatcher(): Batcher<RequestContext> | undefined {
    const { batching } = this.settings
    if (batching === undefined || batching.maxSize <= 1) return undefined
    return new Batcher<RequestContext>(
      this.queue,
      batching,
      this.protocol === 'oip' ? tensorBatches : listBatches,
      async (request, contexts, signal) => {
        const [first] = contexts
        const fromMs = performance.now()
        try {
          if (typeof request !== 'object' || request === null || first === undefined) return undefined
          return await this.model.predict(request, batchContext(first, signal))
        } finally {
          const seconds = (performance.now() - fromMs) / 1000
          for (const _ of contexts) this.metrics.predict(seconds)
        }
      },
      (rows) => this.metrics.batchRows(rows),
    )
  }

  #makeRecorder(): Recorder | undefined {
    const { tracking, context } = this.services
    const { model } = this
    if (tracking === undefined) return undefined
    const tracked = {
      className: model.constructor.name,
      name: model.name,
      version: model.version,
      labels: () => model.labels,
      metrics: () => model.metrics,
    }
    return new Recorder(tracked, tracking, {
      worker: context.workerId,
      onFailure: (records, error) => {
        this.metrics.logPushFailures(records)
        context.logger.error({ model: this.key, error: errorText(error) }, 'tracking records not pushed')
      },
    })
  }
}

function modelClass(key: string, settings: ModelSettings): ModelClass {
  if (settings.class !== undefined) return settings.class
  if (settings.model !== undefined) return V2ModelServer
  throw new ValueError(`model ${key} needs a class`)
}

function constructorOptions(key: string, settings: ModelSettings, services: HostServices): ModelOptions {
  const { model, modelPath, params, protocol = services.protocol, inputPath, resultPath } = settings
  return {
    name: key,
    protocol,
    context: services.context,
    ...(model === undefined ? {} : { model }),
    ...(modelPath === undefined ? {} : { modelPath }),
    ...(params === undefined ? {} : { params }),
    ...(inputPath === undefined ? {} : { inputPath }),
    ...(resultPath === undefined ? {} : { resultPath }),
  }
}
