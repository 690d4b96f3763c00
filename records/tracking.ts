/** What the store knows of tracking records and model endpoints: the interface and its rows. tracking-rows.ts holds the SQL. */
import type { Generated } from 'kysely'
import type { JsonText } from './store.ts'

export interface TrackingTables {
  tracking_records: {
    seq: Generated<number>
    /** Of the function URI; empty if it has none. */
    project: string
    model: string
    version: string
    /** 1 for the record of an error. */
    failed: number
    body: string
    created_at: number
  }
  model_endpoints: { project: string; uid: string; model: string; body: string; created_at: number }
}

/** What is looked for, beside the record as it came (model-server specification, 5.1). */
export interface NewTrackingRecord {
  project: string
  model: string
  version: string
  failed: boolean
  body: JsonText
}

export interface StoredTrackingRecord {
  seq: number
  /** RFC 3339 in UTC: when the store took it. */
  createdAt: string
  body: JsonText
}

/** Left out = any. */
export interface TrackingFilter {
  project?: string
  model?: string
  version?: string
  failed?: boolean
  limit: number
  /** `seq` of the last record of the page before. */
  before?: number
}

/** A model endpoint as its server writes it (model-server specification, 5.3). */
export interface NewModelEndpoint {
  project: string
  uid: string
  /** `name:version` or `name:latest`. */
  model: string
  body: JsonText
}

export interface TrackingStore {
  append(records: readonly NewTrackingRecord[]): Promise<void>
  /** Newest first. */
  list(filter: TrackingFilter): Promise<StoredTrackingRecord[]>
  /** False: there is one of this project and uid, which stays as it is. */
  createEndpoint(endpoint: NewModelEndpoint): Promise<boolean>
  endpoint(project: string, uid: string): Promise<JsonText | undefined>
  /** Oldest first; an empty project = all. */
  endpoints(project: string, limit: number): Promise<JsonText[]>
  /** Sets these members of the record's `spec`. The record after it; undefined: there is none. */
  patchEndpoint(
    project: string,
    uid: string,
    spec: Readonly<Record<string, unknown>>,
  ): Promise<JsonText | undefined>
}
