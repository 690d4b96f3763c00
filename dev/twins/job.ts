/** One job of a provider twin: it waits, runs, gives chunks and ends as its scenario says. Owns time; knows no provider. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import type { Fault } from './server.ts'

const FaultOrder = z.union([
  z.number().int().min(200).max(599),
  z.enum(['reset', 'hang', 'garbage', 'lost']),
  z.strictObject({
    status: z.number().int().min(200).max(599),
    body: z.unknown().optional(),
    headers: z.record(z.string(), z.string()).optional(),
  }),
])

/** What becomes of a job. In code, or in the request itself as `input.twin`. */
export const Scenario = z
  .strictObject({
    queueMs: z.number().min(0).meta({ description: 'Time before it starts' }),
    runMs: z.number().min(0).meta({ description: 'Time from start to end' }),
    end: z
      .enum(['succeeded', 'failed', 'canceled', 'never'])
      .meta({ description: 'never: runs until canceled' }),
    output: z.unknown().meta({ description: 'Absent: the chunks, else the input' }),
    chunks: z.array(z.string()).meta({ description: 'Given one by one while it runs, also as a stream' }),
    breakAfter: z
      .int()
      .min(1)
      .meta({ description: 'Each connection to the event stream is reset after this many events' }),
    noise: z.string().meta({ description: 'Raw text put before every event of the stream' }),
    error: z.string().meta({ description: 'Text of a failed job' }),
    logs: z.string(),
    expireMs: z.number().min(0).meta({ description: 'Result is gone this long after the end' }),
    omit: z.array(z.string()).meta({ description: 'Members left out of every answer about the job' }),
    replace: z
      .record(z.string(), z.unknown())
      .meta({ description: 'Members overwritten in every such answer' }),
    faults: z
      .record(z.string(), z.array(FaultOrder))
      .meta({ description: 'By route, one per call about the job' }),
  })
  .partial()
export type Scenario = Omit<z.infer<typeof Scenario>, 'faults'> & { faults?: Record<string, Fault[]> }

/** `aborted`: the deadline passed before the start; `timed_out`: after it. */
export type JobPhase = 'queued' | 'running' | 'succeeded' | 'failed' | 'canceled' | 'aborted' | 'timed_out'

export interface TwinJob {
  readonly id: string
  readonly input: Record<string, unknown>
  readonly scenario: Scenario
  readonly createdAt: Date
  startedAt?: Date
  endedAt?: Date
  phase: JobPhase
  /** Given so far. */
  chunks: string[]
  /** Of a job that has succeeded. */
  output: unknown
  /** Of a job that has failed. */
  error: string
  /** The result was deleted. */
  expired: boolean
  readonly faults: Record<string, Fault[]>
  cancel(): void
  /** Called at each change, until the returned function is. */
  watch(listener: () => void): () => void
  /** Resolves when it is over, or after `ms`. */
  over(ms: number): Promise<void>
}

/** A real model behind a twin: takes the input, gives the output; what it throws is the job's error. */
export type TwinModel = (input: Record<string, unknown>, signal: AbortSignal) => Promise<unknown>

export interface JobLimits {
  /** From creation; queue and run. */
  totalMs?: number
  /** From start. */
  runMs?: number
}

export function isEnded({ phase }: TwinJob): boolean {
  return phase !== 'queued' && phase !== 'running'
}

/** Starts a job; `stop` ends all of its timers. */
export function startJob(
  input: Record<string, unknown>,
  scenario: Scenario,
  limits: JobLimits,
  stop: AbortSignal,
  model: TwinModel = imitate,
): TwinJob {
  const listeners = new Set<() => void>()
  const ending = new AbortController()
  const job: TwinJob = {
    id: randomUUID().replaceAll('-', '').slice(0, 26),
    input,
    scenario,
    createdAt: new Date(),
    phase: 'queued',
    chunks: [],
    output: null,
    error: scenario.error ?? 'the model failed',
    expired: false,
    faults: structuredClone(scenario.faults ?? {}),
    cancel: () => end('canceled'),
    watch(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    over: (ms) =>
      new Promise((resolve) => {
        if (isEnded(job)) return resolve()
        const done = () => {
          clearTimeout(timer)
          unwatch()
          resolve()
        }
        const timer = setTimeout(done, ms)
        const unwatch = job.watch(() => isEnded(job) && done())
        stop.addEventListener('abort', done, { once: true })
      }),
  }
  const changed = () => {
    for (const listener of [...listeners]) listener()
  }
  function end(phase: JobPhase): void {
    if (isEnded(job) || stop.aborted) return
    job.phase = phase
    job.endedAt = new Date()
    ending.abort()
    changed()
    if (scenario.expireMs !== undefined)
      void sleep(scenario.expireMs, stop).then(() => (job.expired = true), ignore)
  }

  void live(AbortSignal.any([ending.signal, stop])).catch(ignore)
  return job

  async function live(signal: AbortSignal): Promise<void> {
    const { queueMs = 0, runMs = 20, chunks = [], end: outcome = 'succeeded' } = scenario
    if (limits.totalMs !== undefined) void expire(limits.totalMs, signal).catch(ignore)
    await sleep(queueMs, signal)
    job.phase = 'running'
    job.startedAt = new Date()
    changed()
    if (limits.runMs !== undefined) void expire(limits.runMs, signal).catch(ignore)
    for (const chunk of chunks) {
      await sleep(runMs / (chunks.length + 1), signal)
      job.chunks.push(chunk)
      changed()
    }
    await sleep(runMs / (chunks.length + 1), signal)
    if (outcome === 'succeeded') await compute(signal)
    else if (outcome !== 'never') end(outcome)
  }

  async function compute(signal: AbortSignal): Promise<void> {
    try {
      if (Object.hasOwn(scenario, 'output')) job.output = scenario.output
      else job.output = job.chunks.length > 0 ? job.chunks : await model(input, signal)
      end('succeeded')
    } catch (error) {
      job.error = error instanceof Error ? error.message : String(error)
      end('failed')
    }
  }

  async function expire(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, signal)
    end(job.phase === 'queued' ? 'aborted' : 'timed_out')
  }
}

/** Without a model a job gives its input back. */
async function imitate(input: Record<string, unknown>): Promise<unknown> {
  return input
}

/** Applies what the scenario omits and replaces. */
export function disguised(job: TwinJob, answer: Record<string, unknown>): Record<string, unknown> {
  const { omit = [], replace = {} } = job.scenario
  return Object.fromEntries(
    Object.entries({ ...answer, ...replace }).filter(([name]) => !omit.includes(name)),
  )
}

/** The scenario a request asks for, or the text of what is wrong with it. */
export function scenarioIn(input: Record<string, unknown>, fallback: Scenario): Scenario | string {
  if (input.twin === undefined) return fallback
  const read = Scenario.safeParse(input.twin)
  if (read.success) return read.data as Scenario
  return read.error.issues.map(({ path, message }) => `input.twin.${path.join('.')}: ${message}`).join('; ')
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal })
}

function ignore(): void {}
