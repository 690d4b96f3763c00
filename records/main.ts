/** The record service as a process of its own: composes store, files and listener; owns their order, both ways. */
import { pathToFileURL } from 'node:url'
import { serveHttp } from '../api/server.ts'
import { ConfigError, loadRecords, type RecordsConfig } from '../config.ts'
import { makeLogger } from '../logging.ts'
import { makeRecordApp } from './app.ts'
import { openStore } from './open.ts'
import { openFiles } from './open-files.ts'
import { makeUploadTokens } from './upload-tokens.ts'

/** Resolves when the service has stopped. Throws an `Error` of one line when it cannot start. */
export async function runRecordsProcess(config: RecordsConfig, stop: AbortSignal): Promise<void> {
  const log = makeLogger(config)
  const store = await openStore(config.store)
  try {
    const app = makeRecordApp(
      { store, bytes: await openFiles(config.files), tokens: makeUploadTokens(config.apiKey.reveal()) },
      {
        apiKey: config.apiKey.reveal(),
        maxBodyBytes: config.maxBodyBytes,
        maxFileBytes: config.maxUploadBytes,
      },
      (error) => log.error({ error }, 'request failed'),
    )
    const server = await serveHttp(app, config.address)
    log.info({ url: server.url }, 'record service listens')
    if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }))
    log.info('record service drains')
    await server.close()
  } finally {
    await store.close()
    log.flush()
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort())
  try {
    await runRecordsProcess(loadRecords(), stop.signal)
    process.exit(0)
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error)
    process.stderr.write(`${error instanceof ConfigError ? words : `records: ${words}`}\n`)
    process.exit(1)
  }
}
