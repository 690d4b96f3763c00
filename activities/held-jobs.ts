/** The jobs that this process has started on its host and not stopped: a worker that leaves takes them along. */
import { deadlineIn } from '../protocols/deadline.ts'
import type { Job, Runners } from '../runners/index.ts'

export interface HeldJobs {
  hold(job: Job, graceSeconds: number): void
  release(key: string): void
  /** Stops them all; returns the names of those that could not be stopped. */
  stopAll(withinMs: number): Promise<string[]>
}

export function makeHeldJobs(runners: Pick<Runners, 'of'>): HeldJobs {
  const jobs = new Map<string, { job: Job; graceSeconds: number }>()
  return {
    hold(job, graceSeconds) {
      jobs.set(job.key, { job, graceSeconds })
    },
    release(key) {
      jobs.delete(key)
    },
    async stopAll(withinMs) {
      const stops = [...jobs.values()].map(async ({ job, graceSeconds }) => {
        const grace = Math.min(graceSeconds, withinMs / 2000)
        const report = await runners.of(job, { from: 'Running' }).stop(grace, deadlineIn(withinMs))
        if (report.gone) jobs.delete(job.key)
        return report.gone ? [] : [job.key]
      })
      return (await Promise.all(stops)).flat()
    },
  }
}
