/** `perdure ownership`: whether every open record has a live workflow, for an operator who does not want to wait an hour. */
import { type Command, InvalidArgumentError } from 'commander'
import { loadWorker, temporalConnection } from '../config.ts'
import { durationMs } from '../contracts/durations.ts'
import type { Ownerless, OwnershipReport } from '../contracts/ownership.ts'

const exitCodes = { none: 0, found: 1, unanswered: 3 } as const
const leastMs = 1_000

export function addOwnership(program: Command): void {
  program
    .command('ownership')
    .description('look whether every open record has a live workflow; one that has none gets one again')
    .option('--json', 'print what was found as JSON')
    .option('--min-age <duration>', 'look only at what is older; at least 1s', minAge, minAge('2m'))
    .action(async ({ json, minAge: minAgeMs }: { json?: boolean; minAge: number }) => {
      try {
        const report = await ask(minAgeMs)
        console.log(json ? JSON.stringify(report) : linesOf(report).join('\n'))
        process.exitCode = report.ownerless.length === 0 ? exitCodes.none : exitCodes.found
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error))
        process.exitCode = exitCodes.unanswered
      }
    })
}

async function ask(minAgeMs: number): Promise<OwnershipReport> {
  const { temporal } = loadWorker()
  // The other commands do not load Temporal's client.
  const [{ Client, Connection }, { requestCheck }] = await Promise.all([
    import('@temporalio/client'),
    import('../runtime/temporal/check-request.ts'),
  ])
  const connection = Connection.lazy(temporalConnection(temporal))
  try {
    const client = new Client({ connection, namespace: temporal.namespace })
    return await requestCheck(client, temporal.taskQueue, minAgeMs)
  } finally {
    await connection.close()
  }
}

function minAge(given: string): number {
  const ms = durationMs(given)
  if (ms === undefined || ms < leastMs)
    throw new InvalidArgumentError('a duration of 1s at least, such as 2m')
  return ms
}

function linesOf({ checked, ownerless }: OwnershipReport): string[] {
  const { flights, guards, deliveries, validations } = checked
  return [
    `looked at: flights ${flights}, guards ${guards}, webhook deliveries ${deliveries}, validations ${validations}`,
    ownerless.length === 0 ? 'each has a live workflow' : `without a live workflow: ${ownerless.length}`,
    ...ownerless.map(lineOf),
  ]
}

function lineOf({ id, closed, ageMs }: Ownerless): string {
  return `${id}: open for ${Math.round(ageMs / 1000)} s; ${closed === null ? 'Temporal knows of no run' : `its last run is ${closed}`}`
}
