/** The promises of Perdure, checked at the end of a chaos run: what was broken, with the ids, one line each. */
import { Client, Connection } from '@temporalio/client'
import type { ChaosLoad } from './chaos-load.ts'
import { type ChaosRecords, terminal } from './chaos-records.ts'
import { looseEnds } from './loose-ends.ts'
import { foundOwnerless } from './ownership.ts'
import { until } from './processes.ts'
import type { ProductionSet } from './production-set.ts'

export interface ChaosEvidence {
  set: ProductionSet
  load: ChaosLoad
  records: ChaosRecords
  /** Origin of the chaos platform. */
  platform: string
}

const settledWithinMs = 180_000

interface PlatformStats {
  predictions: number
  calls: number
  calledAgain: number
  overlapping: string[]
  answered: string[]
}

interface Ended {
  id: string
  status: string
  code: string
  sync: boolean
}

export async function brokenPromises(evidence: ChaosEvidence): Promise<string[]> {
  const { load, records } = evidence
  const broken: string[] = []
  const blame = (promise: string, ids: readonly string[]) => {
    if (ids.length > 0) broken.push(`${promise}: ${ids.length}, ${ids.slice(0, 20).join(', ')}`)
  }

  const { left, ownerless } = await theEnds(evidence)
  blame('left behind', left)
  blame('without an owner', ownerless)

  const rows = await records.query<Ended>(
    `select id, status, error_code as code, queue_id = '' as sync from predictions`,
  )
  const byId = new Map(rows.map((row) => [row.id, row]))
  blame(
    'accepted and lost',
    idsOf(load.accepted).filter((id) => !byId.has(id)),
  )
  blame(
    'answered and lost',
    idsOf(load.served).filter((id) => !byId.has(id)),
  )
  blame(
    'accepted and not succeeded',
    idsOf(load.accepted)
      .filter((id) => failed(byId.get(id)))
      .map(described),
  )
  blame(
    'answered as succeeded and not so',
    idsOf(load.served).filter((id) => failed(byId.get(id))),
  )
  const twice = await records.query<{ id: string }>(
    `select id from bench_status_log where became in ${terminal} group by id having count(*) > 1`,
  )
  blame(
    'ended twice',
    twice.map(({ id }) => id),
  )
  blame('left a terminal status', await leftTerminal(records))
  const notOurs = rows.filter(({ status, code, sync }) => status !== 'succeeded' && !explained(sync, code))
  blame(
    'failed without a kill explaining it',
    notOurs.map(({ id }) => described(id)),
  )

  const stats = (await (await fetch(`${evidence.platform}/stats`)).json()) as PlatformStats
  blame('two platform calls alive at once', stats.overlapping)
  const answered = new Set(stats.answered)
  const succeeded = rows.filter(({ status }) => status === 'succeeded').map(({ id }) => id)
  blame(
    'succeeded without an answer of the platform',
    succeeded.filter((id) => !answered.has(id)),
  )
  blame('wrong results', [...load.wrong, ...(await wrongOutputs(records))])
  blame('clients that gave up', load.gaveUp)
  console.error(
    `${rows.length} records, ${stats.calls} platform calls, ${stats.calledAgain} predictions called again, ` +
      `${rows.filter(({ code }) => code === 'interrupted').length} synchronous calls interrupted, ` +
      `${rows.filter(({ sync, status }) => !sync && status === 'failed').length} asynchronous ones discarded`,
  )
  return broken

  function described(id: string): string {
    const row = byId.get(id)
    return `${id} (${row?.status} ${row?.code})`
  }
}

function idsOf(answers: readonly { id: string }[]): string[] {
  return [...new Set(answers.map(({ id }) => id))]
}

function failed(row: Ended | undefined): boolean {
  return row !== undefined && row.status !== 'succeeded'
}

/** A direct call ends with its process; an asynchronous one whose start failed was discarded and answered with 503. */
function explained(sync: boolean, code: string): boolean {
  return sync ? code === 'interrupted' : code === 'task_queue_failed'
}

async function leftTerminal(records: ChaosRecords): Promise<string[]> {
  const rows = await records.query<{ id: string }>(`select id from bench_status_log where was in ${terminal}`)
  return rows.map(({ id }) => id)
}

/** The platform echoes: a result that is not the request's own was mixed up somewhere. */
async function wrongOutputs(records: ChaosRecords): Promise<string[]> {
  const rows = await records.query<{ id: string }>(
    `select p.id from predictions p join prediction_inputs i on i.id = p.id
     left join prediction_outputs o on o.id = p.id
     where p.status = 'succeeded'
     and (o.outputs is null or (o.outputs::jsonb -> 'outputs') is distinct from (i.inputs::jsonb -> 'inputs'))`,
  )
  return rows.map(({ id }) => id)
}

/** A workflow ends a moment after the last record that it owned. */
async function theEnds({ set, records }: ChaosEvidence): Promise<{ left: string[]; ownerless: string[] }> {
  const connection = await Connection.connect({ address: set.temporalAddress })
  try {
    const client = new Client({ connection })
    const scene = { query: records.query, client, taskQueue: set.taskQueue, apis: set.apis.length }
    const none = async () => (await looseEnds(scene)).length === 0
    await until('the ends', settledWithinMs, none, 500).catch(() => undefined)
    return { left: await looseEnds(scene), ownerless: await foundOwnerless(client, set.taskQueue) }
  } finally {
    await connection.close()
  }
}
