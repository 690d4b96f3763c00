/** Makes a runner of a platform: the states, waits and the stubborn stop that all of them share. Knows no platform. */
import { codeOf, ServiceError } from '../contracts/errors.ts'
import type { Observation, RunnerState, Started, StopReport } from '../contracts/validation-record.ts'
import { type Deadline, deadlineIn, pollPauseMs, sleepWithin } from '../protocols/deadline.ts'
import { jobWords } from '../protocols/job-words.ts'
import type { Job } from './job.ts'
import { maskSecrets } from './output.ts'
import { IllegalStateError, type JobPlatform, type Logs, type Runner, type Running } from './runner.ts'
import { makeStateRecord } from './states.ts'

export interface RunnerOptions {
  /** Last known state, for a job that another process started. A job that is missing then was lost, not never there. */
  from?: Extract<RunnerState, 'Initial' | 'Scheduled' | 'Running'>
  /** Longest pause between two looks; the first ones are closer together. */
  pollIntervalMs?: number
}

/** API errors in a row that a wait puts up with before it reports them. */
const toleratedErrors = 3

export function makeRunner(job: Job, platform: JobPlatform, options: RunnerOptions = {}): Runner {
  const { from = 'Initial', pollIntervalMs = 1000 } = options
  const record = makeStateRecord(from)
  let starting: Promise<Started> | undefined
  let endpoints: Record<string, string> | undefined

  async function look(): Promise<Observation> {
    if (record.state === 'Initial' || record.state === 'End') {
      return (await platform.inspect()) ?? { state: record.state }
    }
    const seen = (await platform.inspect()) ?? {
      state: 'Aborted',
      failure: 'JOB_ABORTED',
      reason: 'NotFound',
      message: 'the job is gone and this validation did not stop it',
    }
    follow(seen)
    return seen
  }

  function follow(seen: Observation): void {
    if (seen.endpoints !== undefined) endpoints = seen.endpoints
    if (record.state === 'Scheduled' && seen.state === 'Running') {
      record.to('Running', seen.reason ?? 'the platform runs it')
    }
    if (seen.state === 'Aborted') record.to('Aborted', jobWords(seen))
  }

  async function start({ notAfter }: { notAfter?: Date }): Promise<Started> {
    if (notAfter !== undefined && Date.now() > notAfter.getTime()) {
      throw new ServiceError(
        'CONFIG_INVALID',
        'start was delivered after its own time limit; nothing was created',
      )
    }
    const started = await platform.create()
    if (record.state === 'Initial') {
      record.to('Scheduled', started.adopted ? 'found the job of this key' : 'start returned')
    }
    return started
  }

  async function adopt(): Promise<void> {
    if (starting !== undefined) await starting
    if (record.state !== 'Initial') return
    if ((await platform.inspect()) === undefined) {
      throw new IllegalStateError('NOT_STARTED', 'the job has not been started')
    }
    record.to('Scheduled', 'found the job of this key')
  }

  return {
    job,
    get state() {
      return record.state
    },
    transitions: record.transitions,

    async start(startOptions = {}) {
      if (starting !== undefined || record.state !== 'Initial') {
        throw new IllegalStateError('ALREADY_STARTED', 'cannot start model server multiple times')
      }
      starting = start(startOptions)
      return starting
    },

    async waitUntilRunning(deadline, { signal, onPoll, pullBudgetMs } = {}): Promise<Running> {
      await adopt()
      if (record.state === 'End' || record.state === 'Aborted') {
        throw new IllegalStateError('NOT_RUNNING', `the job is in ${record.state}`)
      }
      const [since, budgetMs] = [performance.now(), deadline.leftMs()]
      let [errors, pullMs, lastLook] = [0, 0, since]
      for (;;) {
        signal?.throwIfAborted()
        const seen = await look().catch((error: unknown) => {
          if (++errors >= toleratedErrors || codeOf(error) !== 'PLATFORM_UNAVAILABLE') throw error
          return undefined
        })
        const now = performance.now()
        if (seen !== undefined) {
          errors = 0
          onPoll?.(seen)
          const failure = seen.failure ?? (seen.state === 'Aborted' ? 'JOB_ABORTED' : undefined)
          if (failure !== undefined) throw new ServiceError(failure, jobWords(seen))
          if (seen.state === 'Running' && endpoints !== undefined) {
            const endpoint = endpoints.http ?? Object.values(endpoints)[0] ?? ''
            return { endpoint, endpoints, runningAt: new Date().toISOString(), pullMs: Math.round(pullMs) }
          }
          if (seen.pulling && pullBudgetMs !== undefined) pullMs += now - lastLook
        }
        lastLook = now
        if (pullBudgetMs !== undefined && pullMs > pullBudgetMs) {
          throw new ServiceError('IMAGE_PULL_FAILED', `the image was not pulled within ${pullBudgetMs} ms`)
        }
        const leftMs = budgetMs - (now - since) + pullMs
        if (leftMs <= 0) {
          const last = seen === undefined ? 'the platform did not answer' : jobWords(seen)
          throw new ServiceError('DEADLINE_EXCEEDED', `not running within its time limit: ${last}`)
        }
        await sleepWithin(pollPauseMs(now - since, pollIntervalMs), deadlineIn(leftMs), signal)
      }
    },

    observe: look,

    getEndpoint(port = 'http') {
      const endpoint = record.state === 'Running' ? endpoints?.[port] : undefined
      if (endpoint === undefined) throw new IllegalStateError('NOT_RUNNING', 'the job has no endpoint')
      return endpoint
    },

    async getLogs(tailBytes): Promise<Logs> {
      try {
        const text = await platform.logs(tailBytes)
        return text === undefined
          ? { text: null, reason: 'the job never started' }
          : { text: maskSecrets(text, job) }
      } catch (error) {
        return { text: null, reason: `the logs cannot be read: ${textOf(error)}` }
      }
    },

    async stop(graceSeconds, deadline): Promise<StopReport> {
      // A start under way would otherwise create the job right behind the stop.
      await starting?.catch(() => undefined)
      const report = await removeStubbornly(platform, graceSeconds, deadline)
      record.to('End', report.gone ? 'stopped and gone' : 'stop gave up')
      await Promise.resolve(platform.close()).catch(() => undefined)
      return report
    },
  }
}

async function removeStubbornly(
  platform: JobPlatform,
  graceSeconds: number,
  deadline: Deadline,
): Promise<StopReport> {
  const report: StopReport = { gone: false, attempts: 0, killed: false, leftovers: [] }
  for (let round = 1; ; round++) {
    report.attempts = round
    let final = false
    try {
      const removal = await platform.remove(graceSeconds, deadline)
      report.gone = removal.gone
      report.killed ||= removal.killed
      report.leftovers = removal.leftovers
      final = removal.final ?? false
      if (removal.gone) delete report.lastError
      else report.lastError = `still there: ${removal.leftovers.join(', ')}`
    } catch (error) {
      report.lastError = textOf(error)
    }
    if (report.gone || final || deadline.passed) return report
    await sleepWithin(platform.removeAgainMs(round), deadline)
  }
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
