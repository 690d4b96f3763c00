/**
 * The thread of postgres-life.ts: raises the counter of its process, tells its process the counters of the others, and
 * ends the process when it was declared dead.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import pg from 'pg'
import type { BeatMessage, BeatThreadData } from './postgres-life.ts'

const { connectionString, processId, beatMs }: BeatThreadData = workerData
const beat = {
  name: 'beat',
  text: "update processes set beat = beat + 1 where id = $1 and state <> 'dead'",
  values: [processId],
}
const others = {
  name: 'others',
  text: "select id, beat::float8 as beat from processes where id <> $1 and state <> 'dead'",
  values: [processId],
}

let hasBeaten = false

function tell(message: BeatMessage): void {
  parentPort?.postMessage(message)
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
    hasBeaten = true
    tell((await client.query<{ id: string; beat: number }>(others)).rows)
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
  if (hasBeaten) tell('lost')
  client.end().catch(() => undefined)
  await delay(beatMs)
}
