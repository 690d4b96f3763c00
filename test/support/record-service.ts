/** A record service on a real port over a new SQLite store and a folder. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { serveHttp } from '../../api/server.ts'
import { makeRecordApp, type RecordServiceSettings } from '../../records/app.ts'
import type { FileBytes } from '../../records/files.ts'
import { makeFolderFiles } from '../../records/folder-files.ts'
import type { Store } from '../../records/store.ts'
import { makeUploadTokens, type UploadTokens } from '../../records/upload-tokens.ts'
import { servingStore, sqliteStores } from './stores.ts'

export interface RecordService {
  url: string
  store: Store
  bytes: FileBytes
  folder: string
  tokens: UploadTokens
  /** What no `ServiceError` explained. */
  unexpected: unknown[]
}

export async function recordService(
  settings: Partial<RecordServiceSettings> = {},
  storage?: FileBytes,
): Promise<RecordService> {
  const store = await servingStore(await sqliteStores.place(), 'api-1', { mirror: true })
  return serveRecords(store, settings, storage)
}

/** The same over a store that somebody else owns. */
export async function serveRecords(
  store: Store,
  settings: Partial<RecordServiceSettings> = {},
  storage?: FileBytes,
): Promise<RecordService> {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-files-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const bytes = storage ?? makeFolderFiles(folder)
  const tokens = makeUploadTokens(settings.apiKey ?? '')
  const unexpected: unknown[] = []
  const all = {
    apiKey: '',
    maxBodyBytes: 1024 * 1024,
    maxFileBytes: 8 * 1024 * 1024,
    retentionMs: 48 * 3_600_000,
    ...settings,
  }
  const app = makeRecordApp({ store, bytes, tokens }, all, (error) => unexpected.push(error))
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(async () => {
    server.closeNow()
    await server.close()
  })
  return { url: server.url, store, bytes, folder, tokens, unexpected }
}
