/** What a validation writes down: states, transitions, attempts, probe results, the blessing. Types only, no zod. */
import type { FailureClass, Verdict } from './validation-verdict.ts'

/** The states of one job; `Initial → Scheduled → Running → End`, `Aborted` from Scheduled and Running. */
export const runnerStates = ['Initial', 'Scheduled', 'Running', 'Aborted', 'End'] as const
export type RunnerState = (typeof runnerStates)[number]

export interface Transition {
  /** Undefined for the first one, into Initial. */
  from?: RunnerState
  to: RunnerState
  /** ISO time. */
  at: string
  reason: string
}

/** Names one attempt: the job key is derived from nothing else, so any process can find the job again. */
export interface JobRef {
  workflowId: string
  /** `firstExecutionRunId`: unchanged by continue-as-new. */
  runId: string
  /** Index of the serving binary, from 0. */
  binary: number
  /** Attempt of that binary, from 1. */
  attempt: number
}

/** What a platform says about a job at one moment. */
export interface Observation {
  state: RunnerState
  /** `host:port` by port name, once the platform gives one. */
  endpoints?: Record<string, string>
  exitCode?: number
  signal?: string
  oomKilled?: boolean
  /** The class of the abort, or of a Scheduled job that can never run. */
  failure?: FailureClass
  /** A platform's own word: `OOMKilled`, `Evicted`, `exited`. */
  reason?: string
  message?: string
  /** The platform fetches the image at this moment: that time is not the model's. */
  pulling?: true
  /** `null`: this platform cannot tell. */
  peakMemoryBytes?: number | null
  /** `sha256:…` of the image that really runs, where the platform tells it only then. */
  imageDigest?: string
}

export interface Started {
  jobKey: string
  /** Container id, Pod uid, process group, address. */
  platformRef: string
  /** ISO time. */
  createdAt: string
  /** True when a job of this key was already there. */
  adopted: boolean
}

export interface StopReport {
  gone: boolean
  attempts: number
  /** The grace period was not enough. */
  killed: boolean
  lastError?: string
  /** What is still there, each in words an operator can act on. */
  leftovers: string[]
}

export interface Timings {
  pullMs?: number
  scheduleMs?: number
  startMs?: number
  loadMs?: number
  queryMs?: number
  stopMs?: number
}

export interface AttemptRecord {
  n: number
  jobKey: string
  outcome: 'passed' | 'failed' | 'cancelled'
  errorClass?: FailureClass
  message?: string
  transitions: Transition[]
  timings: Timings
  exitCode?: number
  signal?: string
  oomKilled?: boolean
  peakMemoryBytes?: number | null
  /** Where the last MiB of the logs lies; null when the job never started. */
  logsRef: string | null
  /** The last 4 KiB, secrets masked. */
  logsTail?: string
  cleanup: { gone: boolean; attempts: number; lastError?: string }
}

/** `manifest`: SHA-256 over the files; `given`: the caller's; `uri-only`: nothing pins the content. */
export type ModelDigestKind = 'manifest' | 'given' | 'uri-only'
/** `manifest`: the registry's; `imageId`: a local image without one; `command`: no image at all. */
export type ImageDigestKind = 'manifest' | 'imageId' | 'command' | 'none'

export interface BinaryRecord {
  kind: string
  image?: string
  imageDigest?: string
  digestKind: ImageDigestKind
  platform: string
  limits: Record<string, number>
  passed: boolean
  attempts: AttemptRecord[]
}

export interface RequestFailure {
  id: string
  class: FailureClass
  message: string
}

export interface RequestResults {
  sent: number
  ok: number
  failed: RequestFailure[]
}

export interface GoldenResult {
  id: string
  pass: boolean
  /** Largest over all compared numbers; null where nothing numeric was compared. */
  maxAbsDiff: number | null
  maxRelDiff: number | null
  worst?: { output: string; index: number; expected: unknown; actual: unknown }
  /** Why it did not pass, in words. */
  message?: string
  /** The offending output as received, cut to a few KiB. */
  output?: string
}

export interface LoadResult {
  concurrency: number
  /** Answers that were measured, good and bad. */
  n: number
  /** Errors by class or HTTP status. */
  errors: Record<string, number>
  /** Milliseconds over the good answers; null when there was none. */
  p50: number | null
  p90: number | null
  p95: number | null
  p99: number | null
  max: number | null
  /** Good answers per second. */
  rps: number
}

export interface GateResult {
  name: string
  limit: number
  value: number | null
  pass: boolean
}

export interface ProbeResults {
  requests?: RequestResults
  golden?: GoldenResult[]
  load?: LoadResult[]
  gates?: GateResult[]
}

/** The stored verdict (7.7). `id` is the SHA-256 of the canonical JSON of all other fields. */
export interface Blessing {
  schemaVersion: 1
  id: string
  verdict: Verdict
  mode: 'LOAD_ONLY' | 'LOAD_AND_QUERY'
  createdAt: string
  expiresAt: string
  workflowId: string
  runId: string
  model: { uri: string; digest: string; digestKind: ModelDigestKind; name: string }
  spec: { digest: string }
  binaries: BinaryRecord[]
  /** By binary index, of the passing attempt or else of the last one. */
  results: ProbeResults[]
  /** A failure outside the attempts. */
  error?: { class: FailureClass; message: string }
  warnings: string[]
  artifacts: { warmupRef?: string }
}
