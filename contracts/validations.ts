/** What validation workflows exchange with their activities: ids, small settings, statuses. A wire format: only add. */
import type { ImageDigestKind, JobRef, ModelDigestKind } from './validation-record.ts'
import type { FailureClass, Verdict } from './validation-verdict.ts'

/** Where a validation is, shown to whoever waits for it. */
export const validationPhases = [
  'pending',
  'preparing',
  'pulling',
  'starting',
  'scheduled',
  'loading',
  'requests',
  'golden',
  'load',
  'memory',
  'collecting',
  'stopping',
  'waiting',
  'concluding',
  'ended',
] as const
export type ValidationPhase = (typeof validationPhases)[number]

export interface Progress {
  phase: ValidationPhase
  /** From 0. */
  binary?: number
  /** From 1. */
  attempt?: number
  /** Requests, goldens, concurrencies: so many of so many. */
  done?: number
  of?: number
  /** What was seen last. */
  detail?: string
}

export interface ValidationInput {
  /** Where the activities that are bound to no host run; workflows themselves share the guards' queue. */
  queue: string
  /** A validation whose spec this run takes over: set by schedules. */
  template?: string
  /** Where a run goes on after continue-as-new. */
  resume?: ValidationState
}

export interface ValidationResult {
  verdict: Verdict
  blessing: string | null
}

/** Limits of the workflow, all in milliseconds unless named otherwise. */
export interface PlanBudgets {
  numTries: number
  loadingMs: number
  pullMs: number
  pollIntervalMs: number
  readyStreak: number
  requestTimeoutMs: number
  queryMs: number
  stopGraceSeconds: number
  stopMs: number
  firstDelayMs: number
  longestDelayMs: number
}

/** What is to be done, known once the spec has been checked where it will run. */
export interface ValidationPlan {
  modelDigest: string
  digestKind: ModelDigestKind
  /** Names of the binaries, for summaries: an image or the kind. */
  binaries: string[]
  probes: { requests: boolean; golden: boolean; load: boolean; memory: boolean }
  budgets: PlanBudgets
  retryOn: FailureClass[]
}

/** The plan as the store keeps it: with the way to the jobs, for whoever takes the validation over. */
export interface StoredPlan extends ValidationPlan {
  /** Absent in plans of earlier versions. */
  queue?: string
  host?: string
}

export interface Opened {
  /** `unknown`: nobody was told that this validation exists. */
  outcome: 'open' | 'unknown'
  /** Host of the worker that answered. */
  host: string
  /** Set where the runner lives on that host: everything about its jobs goes to this queue. */
  runnerQueue?: string
  /** How long a step on that queue waits for a worker; absent = 60 s. */
  hostWaitMs?: number
}

export interface Resolved {
  image?: string
  digest: string
  digestKind: ImageDigestKind
}

/** Names one attempt's job; everything else is read from the store. */
export interface AttemptInput {
  ref: JobRef
  modelDigest: string
  image?: string
  /** ISO time after which any reaper may remove the job. */
  expiresAt: string
  /** Host that owns the job. */
  host: string
}

export interface WaitInput extends AttemptInput {
  budgetMs: number
  pollIntervalMs: number
}

export interface ProbeInput extends AttemptInput {
  /** What is left of the query budget. */
  budgetMs: number
  requestTimeoutMs: number
}

export interface StopInput extends AttemptInput {
  graceSeconds: number
  budgetMs: number
}

export interface PhaseEnd {
  spentMs: number
  /** The phase failed the attempt; the whole text is in the store. */
  failure?: { class: FailureClass; message: string }
}

export interface AttemptOutcome {
  n: number
  outcome: 'passed' | 'failed' | 'cancelled'
  errorClass?: FailureClass
  message?: string
  cleanup: { gone: boolean; attempts: number; lastError?: string }
}

export interface BinaryState {
  resolved?: Resolved
  attempts: AttemptOutcome[]
}

/** All that a validation workflow knows. */
export interface ValidationState {
  opened: Opened
  plan: ValidationPlan
  binaries: BinaryState[]
}

export interface ConclusionInput {
  id: string
  runId: string
  verdict: Verdict
  error?: { class: FailureClass; message: string }
  binaries: BinaryState[]
}

export interface KeeperInput {
  /** The validation, and the first of its runs. */
  id: string
  runId: string
  queue: string
  /** The validation is closed already, and nobody will cancel this keeper: it sets to work at once. */
  closed?: boolean
}

/** What a validation has left behind whose workflow is closed. */
export type Estate =
  /** `open`: it runs (again); `ended`: its record has been ended. There is nothing to do. */
  | { state: 'open' | 'ended' }
  | {
      state: 'left'
      verdict: Extract<Verdict, 'ABORTED' | 'ERROR'>
      /** How the workflow was closed, where that was nobody's wish. */
      error?: { class: FailureClass; message: string }
      /** Jobs that may still be there, and the queue on which they are reached. */
      queue: string
      stops: StopInput[]
      binaries: BinaryState[]
    }

/** On the validation queue: any worker may run them. */
export interface ValidationActivities {
  /** Waits a little for the record, whose insertion follows the start; picks the host. */
  openValidation(input: { id: string; template?: string }): Promise<Opened>
  /** Asks Temporal whether the validation runs, and the store what it has left. */
  estateOf(input: { id: string; runId: string }): Promise<Estate>
  /** The verdict, first one wins; idempotent. */
  writeBlessing(input: ConclusionInput): Promise<ValidationResult>
}

/** On the queue of the runner's host, or on the validation queue where the runner is bound to none. */
export interface RunnerActivities {
  /** Checks what only the host can check: model path, examples. Throws `CONFIG_INVALID`. */
  prepareValidation(id: string): Promise<ValidationPlan>
  resolveImage(input: { id: string; binary: number; budgetMs: number }): Promise<Resolved>
  startJob(input: AttemptInput & { notAfter: string }): Promise<void>
  waitRunning(input: WaitInput): Promise<PhaseEnd>
  waitModelReady(input: WaitInput & { readyStreak: number }): Promise<PhaseEnd>
  runRequests(input: ProbeInput): Promise<PhaseEnd>
  runGolden(input: ProbeInput): Promise<PhaseEnd>
  runLoad(input: ProbeInput): Promise<PhaseEnd>
  judgeMemory(input: AttemptInput): Promise<PhaseEnd>
  /** Exit code, memory and logs, before they are gone. Never decides anything. */
  collectJob(input: AttemptInput & { outcome: AttemptOutcome['outcome'] }): Promise<void>
  stopJob(input: StopInput): Promise<AttemptOutcome['cleanup']>
  /** The digest of the model's files now. */
  digestModel(id: string): Promise<string>
}

export interface ReaperActivities {
  /** Removes jobs whose time is over, whoever made them; how many. */
  sweepJobs(): Promise<number>
}

/** One job that could not be stopped in time: somebody goes on trying. */
export interface CleanupInput {
  queue: string
  stop: StopInput
}

export interface ReaperInput {
  queue: string
}
