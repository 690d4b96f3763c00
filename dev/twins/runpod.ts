/**
 * A twin of RunPod's serverless API, driven by scenarios
 * (https://docs.runpod.io/serverless/endpoints/operation-reference). Owns its shapes, statuses, limits and webhooks; runs no model.
 */
import { isJsonObject, numberIn } from '../../contracts/json.ts'
import {
  disguised,
  isEnded,
  type Scenario,
  scenarioIn,
  startJob,
  type TwinJob,
  type TwinModel,
} from './job.ts'
import {
  type Exchange,
  startTwinServer,
  type TwinListening,
  type TwinRoute,
  type TwinServer,
} from './server.ts'
import { makeWebhookSender } from './webhooks.ts'

export interface RunpodTwinOptions extends TwinListening {
  /** Of jobs whose `input.twin` says nothing. */
  scenario?: Scenario
  /** Makes the outputs of jobs whose scenario names none. */
  model?: TwinModel
  /** Requests in any 10 s, per endpoint: above them 429. RunPod's own limits are the defaults. */
  limits?: Partial<Record<'run' | 'status' | 'cancel' | 'purge', number>>
  /** How `/stream` answers. */
  streamForm?: 'object' | 'array'
  /** Pause before a webhook that failed is sent again; twice at most. */
  webhookRetryMs?: number
}

export interface RunpodTwin extends TwinServer {
  /** For `RUNPOD_ADDRESS`. */
  readonly baseUrl: string
  /** Oldest first. */
  readonly jobs: readonly TwinJob[]
}

interface Run {
  endpoint: string
  job: TwinJob
  /** Chunks that `/stream` has given away. */
  streamed: number
  webhook?: string
}

const windowMs = 10_000

export async function startRunpodTwin(options: RunpodTwinOptions = {}): Promise<RunpodTwin> {
  const { scenario = {}, streamForm = 'object', webhookRetryMs = 10_000 } = options
  const limits = { run: 1_000, status: 2_000, cancel: 100, purge: 2, ...options.limits }
  const stopping = new AbortController()
  const webhooks = makeWebhookSender(false, webhookRetryMs, stopping.signal)
  const runs = new Map<string, Run>()
  const seen = new Map<string, number[]>()

  const bodyOf = ({ job }: Run) => {
    const { createdAt, startedAt, endedAt, phase } = job
    const body: Record<string, unknown> = { id: job.id, status: statusOf(job) }
    if (startedAt !== undefined) {
      body.delayTime = startedAt.getTime() - createdAt.getTime()
      body.workerId = 'twin'
      if (endedAt !== undefined) body.executionTime = endedAt.getTime() - startedAt.getTime()
    }
    if (phase === 'succeeded') body.output = job.output
    if (phase === 'failed') body.error = job.error
    return disguised(job, body)
  }

  function isLimited(kind: keyof typeof limits, endpoint: string): boolean {
    const key = `${kind} ${endpoint}`
    const now = Date.now()
    const recent = (seen.get(key) ?? []).filter((at) => at > now - windowMs)
    seen.set(key, recent)
    if (recent.length >= limits[kind]) return true
    recent.push(now)
    return false
  }

  function begin({ json, names, answer }: Exchange): Run | undefined {
    const endpoint = names.endpoint ?? ''
    const { input, policy, webhook } = json
    if (isLimited('run', endpoint)) return void answer(429, tooMany)
    if (!isJsonObject(input)) return void answer(400, { error: 'input is required' })
    const chosen = scenarioIn(input, scenario)
    if (typeof chosen === 'string') return void answer(400, { error: chosen })
    const { executionTimeout, ttl } = isJsonObject(policy) ? policy : {}
    const [runMs, totalMs] = [numberIn(executionTimeout), numberIn(ttl)]
    if (runMs !== undefined && runMs < 5_000)
      return void answer(400, { error: 'executionTimeout is below 5000' })
    if (totalMs !== undefined && totalMs < 10_000) return void answer(400, { error: 'ttl is below 10000' })
    const { twin: _, ...plain } = input
    const job = startJob(
      plain,
      chosen,
      { runMs: runMs ?? 600_000, totalMs: totalMs ?? 86_400_000 },
      stopping.signal,
      options.model,
    )
    const run: Run = { endpoint, job, streamed: 0 }
    runs.set(job.id, run)
    if (typeof webhook === 'string') {
      const unwatch = job.watch(() => {
        if (!isEnded(job)) return
        unwatch()
        void webhooks.send(webhook, job.id, bodyOf(run), 2)
      })
    }
    return run
  }

  const known = (kind: keyof typeof limits, handle: (run: Run, exchange: Exchange) => void) => {
    return (exchange: Exchange) => {
      const { names, answer } = exchange
      if (isLimited(kind, names.endpoint ?? '')) return answer(429, tooMany)
      const run = runs.get(names.id ?? '')
      // Past its ttl, or its result's keeping time, a job is not known any more.
      const isGone = run === undefined || run.job.expired || run.job.phase === 'aborted'
      if (isGone || run.endpoint !== names.endpoint) return answer(404, notFound)
      if (exchange.suffer(run.job.faults[exchange.call.route])) return
      handle(run, exchange)
    }
  }

  const at = (verb: string, id = '') =>
    new RegExp(`^/v2/(?<endpoint>[^/]+)/${verb}${id === '' ? '' : '/(?<id>[^/]+)'}$`)

  const routes: TwinRoute[] = [
    {
      name: 'run',
      method: 'POST',
      pattern: at('run'),
      handle(exchange) {
        const run = begin(exchange)
        if (run !== undefined)
          exchange.answer(200, disguised(run.job, { id: run.job.id, status: 'IN_QUEUE' }))
      },
    },
    {
      name: 'runsync',
      method: 'POST',
      pattern: at('runsync'),
      async handle(exchange) {
        const run = begin(exchange)
        await run?.job.over(Math.min(300_000, Number(exchange.url.searchParams.get('wait') ?? 90_000)))
        if (run !== undefined) exchange.answer(200, bodyOf(run))
      },
    },
    {
      name: 'status',
      method: 'GET',
      pattern: at('status', 'id'),
      handle: known('status', (run, { answer }) => answer(200, bodyOf(run))),
    },
    {
      name: 'stream',
      method: 'GET',
      pattern: at('stream', 'id'),
      handle: known('status', (run, { answer }) => {
        const stream = run.job.chunks.slice(run.streamed).map((output) => ({ output }))
        run.streamed = run.job.chunks.length
        answer(200, streamForm === 'array' ? stream : { status: statusOf(run.job), stream })
      }),
    },
    {
      name: 'cancel',
      method: 'POST',
      pattern: at('cancel', 'id'),
      handle: known('cancel', (run, { answer }) => {
        run.job.cancel()
        answer(200, disguised(run.job, { id: run.job.id, status: statusOf(run.job) }))
      }),
    },
    {
      name: 'purge',
      method: 'POST',
      pattern: at('purge-queue'),
      handle({ names, answer }) {
        if (isLimited('purge', names.endpoint ?? '')) return answer(429, tooMany)
        const waiting = runsOf(names.endpoint).filter(({ job }) => job.phase === 'queued')
        for (const { job } of waiting) job.cancel()
        answer(200, { removed: waiting.length, status: 'completed' })
      },
    },
    {
      name: 'health',
      method: 'GET',
      pattern: at('health'),
      handle({ names, answer }) {
        const count = (...phases: string[]) =>
          runsOf(names.endpoint).filter(({ job }) => phases.includes(job.phase)).length
        const jobs = {
          completed: count('succeeded'),
          failed: count('failed', 'timed_out'),
          inProgress: count('running'),
          inQueue: count('queued'),
          retried: 0,
        }
        answer(200, { jobs, workers: { idle: jobs.inProgress === 0 ? 1 : 0, running: jobs.inProgress } })
      },
    },
  ]

  function runsOf(endpoint: string | undefined): Run[] {
    return Array.from(runs.values()).filter((run) => run.endpoint === endpoint)
  }

  const server = await startTwinServer(
    routes,
    {
      unauthorized: { error: 'unauthorized' },
      notFound,
      error: (status) => ({ error: `answered ${status} on order` }),
    },
    options,
  )
  return {
    ...server,
    baseUrl: `${server.origin}/v2`,
    get jobs() {
      return Array.from(runs.values(), ({ job }) => job)
    },
    async close() {
      stopping.abort()
      await server.close()
    },
  }
}

const words = {
  queued: 'IN_QUEUE',
  running: 'IN_PROGRESS',
  succeeded: 'COMPLETED',
  failed: 'FAILED',
  canceled: 'CANCELLED',
  aborted: 'TIMED_OUT',
  timed_out: 'TIMED_OUT',
} as const

function statusOf({ phase }: TwinJob): string {
  return words[phase]
}

const notFound = { title: 'job not found', status: 404, detail: 'the request does not exist or has expired' }
const tooMany = { error: 'too many requests' }
