/** What is left to do, asked when somebody scrapes: the store's counts, Temporal's backlog. A source that is away is left out. */
import { Gauge, type Registry } from 'prom-client'

/** As the store counts it. Times are milliseconds since 1970; undefined = nothing is left. */
export interface StoreBacklog {
  waiting: number
  running: number
  overdue: number
  oldestWaitingAt: number | undefined
  providerJobs: number
  providerCancelsDue: number
  outbox: number
  oldestOutboxAt: number | undefined
  deliveriesWaiting: number
  validationsOpen: number
}

/** One of Temporal's task queues. */
export interface QueueBacklog {
  queue: string
  /** Of what: decisions or side effects. */
  kind: 'workflow' | 'activity'
  /** Tasks that no worker has taken; approximate. */
  tasks: number
  /** Of the oldest of them. */
  ageSeconds: number
  pollers: number
}

export interface BacklogSources {
  store(): Promise<StoreBacklog>
  maxQueueSize: number
  /** Absent: this process does not ask Temporal. */
  temporal?(): Promise<QueueBacklog[]>
}

export interface BacklogMetrics {
  /** Makes the gauges; without it there are none. */
  backlogFrom(sources: BacklogSources): void
  /** Asks the sources. Never rejects, never takes long. */
  refresh(): Promise<void>
}

/** A scrape has 10 s at most by Prometheus' own default. */
const askWithinMs = 3_000

export function makeBacklogMetrics(registers: Registry[]): BacklogMetrics {
  let refresh = async () => undefined as unknown

  function backlogFrom({ store, maxQueueSize, temporal }: BacklogSources): void {
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
    const ofStore = new Map<Gauge, (now: StoreBacklog) => number>([
      [gauge('task_queue_size', 'Waiting predictions'), ({ waiting }) => waiting],
      [
        gauge('task_queue_size_ratio', 'Waiting predictions by MAX_QUEUE_SIZE'),
        ({ waiting }) => waiting / maxQueueSize,
      ],
      [gauge('predictions_running', 'Running predictions'), ({ running }) => running],
      [
        gauge('records_overdue', 'Predictions that have run for longer than TASK_TIMEOUT and a minute'),
        ({ overdue }) => overdue,
      ],
      [
        gauge('prediction_oldest_waiting_seconds', 'Since the longest waiting prediction was accepted'),
        ({ oldestWaitingAt }) => ageOf(oldestWaitingAt),
      ],
      [
        gauge('provider_jobs', 'Jobs at providers whose prediction is open'),
        ({ providerJobs }) => providerJobs,
      ],
      [
        gauge('provider_cancels_due', 'Jobs whose provider has still to hear of a cancel'),
        ({ providerCancelsDue }) => providerCancelsDue,
      ],
      [
        gauge(
          'outbox_messages',
          'Messages for the mirror and for webhooks that are not sent yet; 100000 = at least so many',
        ),
        ({ outbox }) => outbox,
      ],
      [
        gauge('outbox_oldest_seconds', 'Age of the oldest message that is not sent yet'),
        ({ oldestOutboxAt }) => ageOf(oldestOutboxAt),
      ],
      [
        gauge('webhook_deliveries_waiting', 'User webhooks neither delivered nor given up'),
        ({ deliveriesWaiting }) => deliveriesWaiting,
      ],
      [
        gauge('validations_open', 'Validations that have not ended'),
        ({ validationsOpen }) => validationsOpen,
      ],
    ])
    const labelNames = ['task_queue', 'kind']
    const labeled = (name: string, help: string) => new Gauge({ name, help, labelNames, registers })
    const ofTemporal =
      temporal === undefined
        ? undefined
        : ([
            [labeled('task_queue_backlog', 'Tasks in Temporal that no worker has taken'), 'tasks'],
            [
              labeled('task_queue_backlog_age_seconds', 'Age of the oldest task that no worker has taken'),
              'ageSeconds',
            ],
            [labeled('task_queue_pollers', 'Pollers that Temporal has seen in the last minutes'), 'pollers'],
          ] as const)

    refresh = () =>
      Promise.all([
        inTime(store()).then((now) => {
          for (const [one, value] of ofStore) {
            if (now === undefined) one.remove()
            else one.set(value(now))
          }
        }),
        temporal &&
          inTime(temporal()).then((queues) => {
            for (const [one, field] of ofTemporal ?? []) {
              one.reset()
              for (const { queue, kind, ...numbers } of queues ?? [])
                one.set({ task_queue: queue, kind }, numbers[field])
            }
          }),
      ])
  }

  return {
    backlogFrom,
    async refresh() {
      await refresh()
    },
  }
}

function ageOf(since: number | undefined): number {
  return since === undefined ? 0 : Math.max(0, Date.now() - since) / 1000
}

/** Undefined for an answer that fails or is late. */
async function inTime<T>(answer: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, askWithinMs, undefined)
  })
  try {
    return await Promise.race([answer.catch(() => undefined), late])
  } finally {
    clearTimeout(timer)
  }
}
