/** What the store knows of validations and blessings: the interface and its rows. Owns types; validation-rows.ts holds the SQL. */

import type { Generated } from 'kysely'
import type { AttemptRecord, Blessing, ProbeResults } from '../contracts/validation-record.ts'
import type { FailureClass, Verdict } from '../contracts/validation-verdict.ts'
import type { Progress } from '../contracts/validations.ts'

export interface ValidationTables {
  validations: {
    seq: Generated<number>
    id: string
    model_name: string
    status: ValidationStatus
    verdict: Verdict | null
    error_class: FailureClass | null
    error_message: string | null
    blessing_id: string | null
    template: string | null
    spec: string
    plan: string | null
    progress: string
    created_at: number
    ended_at: number | null
  }
  validation_attempts: { validation_id: string; binary_index: number; n: number; body: string }
  validation_texts: { validation_id: string; name: string; body: string }
  blessings: {
    seq: Generated<number>
    id: string
    validation_id: string
    verdict: Verdict
    model_name: string
    model_digest: string
    body: string
    created_at: number
    expires_at: number
    revoked_at: number | null
    revoked_reason: string | null
  }
}

export type ValidationStatus = 'running' | 'ended'

/** Times are RFC 3339 in UTC. */
export interface StoredValidation {
  seq: number
  id: string
  modelName: string
  status: ValidationStatus
  verdict: Verdict | null
  /** A failure outside the attempts. */
  error: { class: FailureClass; message: string } | null
  blessingId: string | null
  /** The validation whose spec it took over, where a schedule started it. */
  template: string | null
  /** The parsed request as JSON text. */
  spec: string
  /** JSON text; null until the host has checked the spec. */
  plan: string | null
  progress: Progress
  createdAt: string
  endedAt: string | null
}

export interface NewValidation {
  id: string
  modelName: string
  spec: string
  template?: string
}

/** One attempt as far as it has come. */
export type StoredAttempt = Partial<AttemptRecord> & {
  n: number
  binary: number
  imageDigest?: string
  results?: ProbeResults
}

/** What an activity adds; lists of transitions grow, timings and results are merged, the rest replaces. */
export type AttemptPatch = Omit<Partial<StoredAttempt>, 'n' | 'binary'>

export interface StoredBlessing {
  seq: number
  blessing: Blessing
  validationId: string
  revokedAt: string | null
  revokedReason: string | null
}

export interface ListPart {
  limit: number
  /** `seq` of the last item of the page before. */
  before?: number
}

export interface ValidationEnd {
  verdict: Verdict
  error?: { class: FailureClass; message: string }
  blessing?: Blessing
}

export interface ValidationStore {
  /** False: the id is there already, perhaps as one that its workflow gave up waiting for. */
  create(validation: NewValidation): Promise<boolean>
  get(id: string): Promise<StoredValidation | undefined>
  list(part: ListPart & { modelName?: string }): Promise<StoredValidation[]>
  keepPlan(id: string, plan: string): Promise<void>
  /** Ignored once the validation has ended. */
  show(id: string, progress: Progress): Promise<void>
  patchAttempt(id: string, binary: number, n: number, patch: AttemptPatch): Promise<void>
  /** By binary and attempt. */
  attempts(id: string): Promise<StoredAttempt[]>
  keepText(id: string, name: string, text: string): Promise<void>
  text(id: string, name: string): Promise<string | undefined>
  /** The first end wins, with its blessing; what is stored afterwards. Undefined: no such validation. */
  end(id: string, end: ValidationEnd): Promise<StoredValidation | undefined>
  blessing(id: string): Promise<StoredBlessing | undefined>
  blessings(part: ListPart & { modelName?: string; verdict?: Verdict }): Promise<StoredBlessing[]>
  /** Newest first: those of the digest, or of one of the names. */
  blessingsOf(model: { digest: string; names: readonly string[]; limit: number }): Promise<StoredBlessing[]>
  /** Undefined: no such blessing. A second revocation changes nothing. */
  revoke(id: string, reason: string): Promise<StoredBlessing | undefined>
}
