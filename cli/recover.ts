/** `perdure recover`: what an operator runs once after a restore, when workers and APIs are up again. */
import type { Command } from 'commander'
import { loadWorker } from '../config.ts'
import type { OwnedKind } from '../contracts/ownership.ts'

export function addRecover(program: Command): void {
  program
    .command('recover')
    .description(
      'after a restore of Temporal or of the database: start a workflow for every record that is open; ' +
        'what has one is left alone',
    )
    .option('--json', 'print the counts as JSON')
    .action(async (options: { json?: boolean }) => {
      try {
        // The other commands do not load Temporal's client.
        const { recover } = await import('../recover.ts')
        const { ownerless } = await recover(loadWorker())
        const of = (kind: OwnedKind) => ownerless.filter((one) => one.kind === kind).length
        const done = {
          flights: of('flight'),
          guards: of('guard'),
          deliveries: of('delivery'),
          validations: of('validation'),
        }
        const { flights, guards, deliveries, validations } = done
        if (options.json) console.log(JSON.stringify(done))
        else
          console.log(
            `started: flights ${flights}, guards ${guards}, webhook deliveries ${deliveries}, keepers of validations ${validations}`,
          )
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error))
        process.exitCode = 1
      }
    })
}
