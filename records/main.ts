/** The record service as a process of its own: composes store, files and listener; owns their order, both ways. */
import { serveHttp } from '../api/server.ts'
import { loadRecords, type RecordsConfig } from '../config.ts'
import { makeLogger } from '../logging.ts'
import { makeMetrics } from '../metrics.ts'
import { aborted, runToExit } from '../processes.ts'
import { observe } from '../runtime/http/observe.ts'
import { startWatch, type Watch } from '../watch.ts'
import { makeRecordApp } from './app.ts'
import { openStore } from './open.ts'
import { openFiles } from './open-files.ts'
import { untilThere } from './until-there.ts'
import { makeUploadTokens } from './upload-tokens.ts'

/** Resolves when the service has stopped. Throws an `Error` of one line when it cannot start. */
export async function runRecordsProcess(config: RecordsConfig, stop: AbortSignal): Promise<void> {
  const log = makeLogger(config)
  for (const warning of config.warnings) log.warn(warning)
  const metrics = makeMetrics()
  const store = await openStore(config.store, { patient: true })
  const ready = () => store.ping()
  let watch: Watch | undefined
  try {
    watch = await startWatch(config, { service: 'perdure-records', log, metrics, ready })
    const app = makeRecordApp(
      { store, bytes: await openFiles(config.files), tokens: makeUploadTokens(config.apiKey.reveal()) },
      {
        apiKey: config.apiKey.reveal(),
        maxBodyBytes: config.maxBodyBytes,
        maxFileBytes: config.maxUploadBytes,
        retentionMs: config.retentionMs,
        observe: (path, handler) => observe({ metrics, log }, path, 'inherited', handler),
      },
      (error) => log.error({ error }, 'request failed'),
    )
    const server = await serveHttp(app, config.address)
    log.info({ url: server.url }, 'record service listens')
    try {
      await untilThere(
        () => store.ping(),
        stop,
        (text) => log.warn(text),
      )
      await aborted(stop)
      log.info('record service drains')
    } finally {
      await server.close()
    }
  } finally {
    await watch?.stop()
    await store.close()
    log.flush()
  }
}

if (import.meta.main)
  process.exit(await runToExit('records', (stop) => runRecordsProcess(loadRecords(), stop)))
