/** What every runner promises (infra-validation specification, section 2). Owns the contract; the platforms' files keep it. */
import { type ErrorCode, ServiceError } from '../contracts/errors.ts'
import type {
  ImageDigestKind,
  Observation,
  RunnerState,
  Started,
  StopReport,
  Transition,
} from '../contracts/validation-record.ts'
import type { Deadline } from '../protocols/deadline.ts'
import type { Job } from './job.ts'

export interface Running {
  /** `host:port` of the port named `http`. */
  endpoint: string
  /** All ports by name. */
  endpoints: Record<string, string>
  /** ISO time. */
  runningAt: string
  /** Milliseconds the platform spent on fetching the image; the deadline did not count them. */
  pullMs: number
}

export interface WaitOptions {
  signal?: AbortSignal
  /** Time for fetching the image, where the platform does it after start; beyond it `IMAGE_PULL_FAILED`. */
  pullBudgetMs?: number
  onPoll?: (seen: Observation) => void
}

export interface Logs {
  /** Null when the job never started or its logs cannot be read; `reason` then says which. */
  text: string | null
  reason?: string
}

/**
 * One runner is one job is one attempt. A runner holds nothing that matters: a fresh one, made from the same job in
 * another process, adopts what runs under the job's name. It never talks to the server inside and never restarts it.
 */
export interface Runner {
  readonly job: Job
  readonly state: RunnerState
  /** Every change of state that this object saw, with time and reason. */
  readonly transitions: readonly Transition[]
  /**
   * Asks the platform to run the job and returns without waiting for it. A job of this key that is already there is
   * adopted. Throws `CONFIG_INVALID` (also: another job under this key, and `notAfter` has passed),
   * `PLATFORM_UNAVAILABLE`, `ALREADY_STARTED`.
   */
  start(options?: { notAfter?: Date }): Promise<Started>
  /**
   * Returns once the platform runs the job; looks at least once, even when the deadline has passed. Throws
   * `NOT_STARTED`, `JOB_ABORTED`, `OOM_KILLED`, `IMAGE_PULL_FAILED`, `UNSCHEDULABLE`, `CONFIG_INVALID`,
   * `DEADLINE_EXCEEDED`, `PLATFORM_UNAVAILABLE`, or the reason of `signal`.
   */
  waitUntilRunning(deadline: Deadline, options?: WaitOptions): Promise<Running>
  /** One look at the job. Throws `PLATFORM_UNAVAILABLE` only. */
  observe(): Promise<Observation>
  /** `host:port`; throws `NOT_RUNNING` before Running was seen. */
  getEndpoint(port?: string): string
  /** The last bytes of the job's output, secrets masked; works on dead jobs. Never throws. */
  getLogs(tailBytes: number): Promise<Logs>
  /**
   * Removes everything that start made and verifies it; tries again until the deadline. Assumes nothing about how far
   * start came. Idempotent, never throws. The runner is in End afterwards.
   */
  stop(graceSeconds: number, deadline: Deadline): Promise<StopReport>
}

/** What a platform must be able to do; `makeRunner` turns it into a `Runner`. Errors are `ServiceError`s. */
export interface JobPlatform {
  /** Creates the job, or finds it: labels and spec digest equal → adopted, different → `CONFIG_INVALID`. */
  create(): Promise<Started>
  /** The job as the platform sees it now; undefined: no such job. */
  inspect(): Promise<Observation | undefined>
  /** The last bytes of the output; undefined: the job never started. */
  logs(tailBytes: number): Promise<string | undefined>
  /** One round of removing, verified. `gone: false` or an error means: try again. */
  remove(graceSeconds: number, deadline: Deadline): Promise<Removal>
  /** Milliseconds between rounds of removing; `round` counts from 1. */
  removeAgainMs(round: number): number
  /** Lets go of connections; the job stays. */
  close(): Promise<void> | void
}

export interface Removal {
  gone: boolean
  killed: boolean
  leftovers: string[]
  /** Trying again would change nothing: we are not allowed to. */
  final?: boolean
}

/** A call that the state machine forbids: a second start, an endpoint before Running. */
export class IllegalStateError extends ServiceError {
  constructor(
    code: Extract<ErrorCode, 'ALREADY_STARTED' | 'NOT_STARTED' | 'NOT_RUNNING' | 'INTERNAL'>,
    message: string,
  ) {
    super(code, message)
    this.name = 'IllegalStateError'
  }
}

/** An image as an attempt starts it and a blessing records it. */
export interface ResolvedImage {
  /** `name@sha256:…`, or the id of a local image; absent where no image is run. */
  image?: string
  /** Of the manifest, of a local image, or of the command; empty when nothing pins it yet. */
  digest: string
  digestKind: ImageDigestKind
}

/**
 * Whether nobody works on a validation any more, so that what is left of it may go before it expires. False for one that
 * this deployment does not know: it is another's.
 */
export type IsOver = (workflowId: string) => Promise<boolean>

/** What a reaper did. It removes jobs whose `expires-at` has passed, whoever made them, and those of ended validations. */
export interface Sweep {
  removed: string[]
  failed: { job: string; error: string }[]
}
