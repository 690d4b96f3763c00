/**
 * A twin of Replicate's HTTP API, driven by scenarios (https://replicate.com/docs/reference/http). Owns its routes,
 * throttling, streams and webhooks; runs no model of its own.
 */
import { spanMs } from '../../contracts/durations.ts'
import { isJsonObject } from '../../contracts/json.ts'
import { isEnded, type Scenario, scenarioIn, startJob, type TwinJob, type TwinModel } from './job.ts'
import {
  invalid,
  notFound,
  type Prediction,
  predictionBody,
  problem,
  throttled,
  unauthorized,
} from './replicate-answers.ts'
import { streamEvents } from './replicate-stream.ts'
import {
  type Exchange,
  startTwinServer,
  type TwinListening,
  type TwinRoute,
  type TwinServer,
} from './server.ts'
import { makeWebhookSender } from './webhooks.ts'

export interface ReplicateTwinOptions extends TwinListening {
  /** Of jobs whose `input.twin` says nothing. */
  scenario?: Scenario
  /** Makes the outputs of jobs whose scenario names none. */
  model?: TwinModel
  /** Creations in any 60 s; above it 429. Replicate's own limit is 600. */
  createsPerMinute?: number
  /** Pause before a failed `completed` webhook is sent again. */
  webhookRetryMs?: number
}

export interface ReplicateTwin extends TwinServer {
  /** For `REPLICATE_ADDRESS`. */
  readonly createUrl: string
  /** For the official clients' `baseUrl`. */
  readonly baseUrl: string
  /** `whsec_…`, also at `/v1/webhooks/default/secret`. */
  readonly webhookSecret: string
  /** Oldest first. */
  readonly jobs: readonly TwinJob[]
}

const maxWaitMs = 60_000
const webhookEvents = ['start', 'output', 'logs', 'completed']
const throttleMs = 500

export async function startReplicateTwin(options: ReplicateTwinOptions = {}): Promise<ReplicateTwin> {
  const { scenario = {}, createsPerMinute = 600, webhookRetryMs = 1_000 } = options
  const stopping = new AbortController()
  const webhooks = makeWebhookSender(true, webhookRetryMs, stopping.signal)
  const predictions = new Map<string, Prediction>()
  const creations: number[] = []

  const bodyOf = (prediction: Prediction) => predictionBody(prediction, server.origin)

  async function create({ call, json, answer }: Exchange, model: string): Promise<void> {
    const { input, version, webhook, webhook_events_filter: filter } = json
    if (!isJsonObject(input)) return answer(422, invalid('input', 'input is required'))
    if (model === '' && typeof version !== 'string')
      return answer(422, invalid('version', 'version is required'))
    if (isThrottled()) return answer(429, throttled(10))
    const chosen = scenarioIn(input, scenario)
    if (typeof chosen === 'string') return answer(422, invalid('input', chosen))
    const given = call.headers['cancel-after']
    const deadlineMs = given === undefined ? undefined : (spanMs(String(given)) ?? 0)
    if (deadlineMs !== undefined && deadlineMs < 5_000) {
      return answer(422, invalid('Cancel-After', 'must be at least 5 seconds'))
    }
    const { twin: _, ...plain } = input
    const limits = deadlineMs === undefined ? {} : { totalMs: deadlineMs }
    const prediction: Prediction = {
      job: startJob(plain, chosen, limits, stopping.signal, options.model),
      model: model || 'twin/model',
      version: typeof version === 'string' ? version : 'hidden',
      ...(typeof webhook === 'string' ? { webhook: { url: webhook, events: eventsIn(filter) } } : {}),
    }
    predictions.set(prediction.job.id, prediction)
    announce(prediction)
    const waitMs = preferredWaitMs(call.headers.prefer)
    if (waitMs !== undefined) await prediction.job.over(waitMs)
    answer(waitMs !== undefined && !isEnded(prediction.job) ? 202 : 201, bodyOf(prediction))
  }

  function isThrottled(): boolean {
    const now = Date.now()
    while (creations[0] !== undefined && creations[0] < now - 60_000) creations.shift()
    if (creations.length >= createsPerMinute) return true
    creations.push(now)
    return false
  }

  function announce(prediction: Prediction): void {
    const { job, webhook } = prediction
    if (webhook === undefined) return
    const { url, events } = webhook
    let sentOutputAt = 0
    let wasStarted = false
    const send = (event: string, retries = 0) => {
      if (events.has(event))
        void webhooks.send(url, `msg_${job.id}_${event}_${job.chunks.length}`, bodyOf(prediction), retries)
    }
    const unwatch = job.watch(() => {
      if (!wasStarted && job.startedAt !== undefined) {
        wasStarted = true
        send('start')
        if (job.scenario.logs !== undefined) send('logs')
      }
      if (isEnded(job)) {
        unwatch()
        send('completed', 2)
      } else if (job.chunks.length > 0 && Date.now() - sentOutputAt >= throttleMs) {
        sentOutputAt = Date.now()
        send('output')
      }
    })
  }

  const known = (handle: (prediction: Prediction, exchange: Exchange) => void | Promise<void>) => {
    return async (exchange: Exchange) => {
      const prediction = predictions.get(exchange.names.id ?? '')
      if (prediction === undefined) return exchange.answer(404, notFound)
      if (exchange.suffer(prediction.job.faults[exchange.call.route])) return
      await handle(prediction, exchange)
    }
  }

  const routes: TwinRoute[] = [
    {
      name: 'create',
      method: 'POST',
      pattern: /^\/v1\/predictions$/,
      handle: (exchange) => create(exchange, ''),
    },
    {
      name: 'create',
      method: 'POST',
      pattern: /^\/v1\/(models|deployments)\/(?<owner>[^/]+)\/(?<name>[^/]+)\/predictions$/,
      handle: (exchange) => create(exchange, `${exchange.names.owner}/${exchange.names.name}`),
    },
    {
      name: 'get',
      method: 'GET',
      pattern: /^\/v1\/predictions\/(?<id>[^/]+)$/,
      handle: known((prediction, { answer }) => answer(200, bodyOf(prediction))),
    },
    {
      name: 'list',
      method: 'GET',
      pattern: /^\/v1\/predictions$/,
      handle: ({ url, answer }) => answer(200, page(url)),
    },
    {
      name: 'cancel',
      method: 'POST',
      pattern: /^\/v1\/predictions\/(?<id>[^/]+)\/cancel$/,
      handle: known((prediction, { answer }) => {
        prediction.job.cancel()
        answer(200, bodyOf(prediction))
      }),
    },
    {
      name: 'stream',
      method: 'GET',
      pattern: /^\/v1\/stream\/(?<id>[^/]+)$/,
      // The address itself is the secret: the official clients send no key here.
      open: true,
      handle: known(({ job }, { call, response }) =>
        streamEvents(job, response, call.headers['last-event-id']),
      ),
    },
    {
      name: 'secret',
      method: 'GET',
      pattern: /^\/v1\/webhooks\/default\/secret$/,
      handle: ({ answer }) => answer(200, { key: webhooks.secret }),
    },
  ]

  function page(url: URL): unknown {
    const size = 100
    const from = Number(url.searchParams.get('cursor') ?? 0) || 0
    const newest = Array.from(predictions.values()).reverse()
    const at = (start: number) => `${server.origin}/v1/predictions?cursor=${start}`
    return {
      previous: from > 0 ? at(Math.max(0, from - size)) : null,
      next: newest.length > from + size ? at(from + size) : null,
      results: newest.slice(from, from + size).map(bodyOf),
    }
  }

  const server = await startTwinServer(
    routes,
    { unauthorized, notFound, error: (status) => (status === 429 ? throttled(30) : problem(status)) },
    options,
  )
  return {
    ...server,
    createUrl: `${server.origin}/v1/predictions`,
    baseUrl: `${server.origin}/v1`,
    webhookSecret: webhooks.secret,
    get jobs() {
      return Array.from(predictions.values(), ({ job }) => job)
    },
    async close() {
      stopping.abort()
      await server.close()
    },
  }
}

function preferredWaitMs(prefer: string | string[] | undefined): number | undefined {
  const [matched, seconds] = /^wait(?:=([1-9]|[1-5][0-9]|60))?$/.exec(String(prefer ?? '')) ?? []
  if (matched === undefined) return undefined
  return seconds === undefined ? maxWaitMs : Number(seconds) * 1000
}

function eventsIn(filter: unknown): ReadonlySet<string> {
  const asked = Array.isArray(filter)
    ? filter.filter((event) => webhookEvents.includes(event))
    : webhookEvents
  return new Set(asked)
}
