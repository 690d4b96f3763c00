/** The thread of postgres-life.ts: raises the counter of its process, and ends the process when it was declared dead. */
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import pg from 'pg'
import type { BeatThreadData } from './postgres-life.ts'

const { connectionString, processId, beatMs }: BeatThreadData = workerData
const beat = {
  name: 'beat',
  text: "update processes set beat = beat + 1 where id = $1 and state <> 'dead'",
  values: [processId],
}

/** Beats until the connection fails. */
async function beatOn(client: pg.Client): Promise<void> {
  await client.connect()
  for (;;) {
    const { rowCount } = await client.query(beat)
    if (rowCount === 0) {
      process.stderr.write('this process was declared dead by others: ending it\n')
      process.kill(process.pid, 'SIGKILL')
    }
    parentPort?.postMessage('beat')
    await delay(beatMs)
  }
}

for (;;) {
  const client = new pg.Client({
    connectionString,
    connectionTimeoutMillis: 2_000,
    query_timeout: 2_000,
    application_name: 'perdure beat',
  })
  client.on('error', () => {
    // The query or the next one fails too, and a new connection follows.
  })
  await beatOn(client).catch(() => undefined)
  client.end().catch(() => undefined)
  await delay(beatMs)
}
