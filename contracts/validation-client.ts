/** A client of the validation and blessing routes over fetch. Waits for nothing by itself. */
import { type ClientOptions, makeSend } from './client.ts'
import type { AttemptRecord, Blessing, ProbeResults } from './validation-record.ts'
import type { ValidationView } from './validation-wire.ts'

export type AttemptView = Partial<AttemptRecord> & { n: number; binary: number; results?: ProbeResults }

export interface ValidationDetailView extends ValidationView {
  binaries: string[]
  attempts: AttemptView[]
}

export interface BlessingView extends Blessing {
  revokedAt: string | null
  revokedReason: string | null
}

export interface Page<Item> {
  next: string | null
  previous: string | null
  results: Item[]
}

export interface ValidationClient {
  /** `request` as it stands in a validation file, paths as the worker sees them. */
  validate(request: unknown): Promise<ValidationView>
  validation(id: string): Promise<ValidationDetailView>
  cancel(id: string): Promise<ValidationView>
  blessings(filter?: { modelName?: string; verdict?: string; limit?: number }): Promise<Page<BlessingView>>
  blessing(id: string): Promise<BlessingView>
  revoke(id: string, reason: string): Promise<BlessingView>
}

export function makeValidationClient(options: ClientOptions): ValidationClient {
  const send = makeSend(options)
  const at = (id: string) => `/v1/validations/${encodeURIComponent(id)}`
  const blessingAt = (id: string) => `/v1/blessings/${encodeURIComponent(id)}`
  return {
    validate: (request) => send('POST', '/v1/validations', request),
    validation: (id) => send('GET', at(id)),
    cancel: (id) => send('POST', `${at(id)}/cancel`),
    blessings({ modelName, verdict, limit } = {}) {
      const query = new URLSearchParams()
      if (modelName !== undefined) query.set('model_name', modelName)
      if (verdict !== undefined) query.set('verdict', verdict)
      if (limit !== undefined) query.set('limit', String(limit))
      return send('GET', `/v1/blessings?${query}`)
    },
    blessing: (id) => send('GET', blessingAt(id)),
    revoke: (id, reason) => send('POST', `${blessingAt(id)}/revoke`, { reason }),
  }
}
