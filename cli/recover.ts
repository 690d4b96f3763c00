/** `perdure recover`: what an operator runs once after a restore, when workers and APIs are up again. */
import type { Command } from 'commander'
import { loadWorker } from '../config.ts'

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
        const done = await recover(loadWorker())
        const { flights, guards, deliveries } = done
        if (options.json) console.log(JSON.stringify(done))
        else console.log(`flights ${flights}, guards ${guards}, webhook deliveries ${deliveries}`)
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error))
        process.exitCode = 1
      }
    })
}
