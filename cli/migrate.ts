/** `perdure migrate`: brings the store to the schema of this version before a process of it starts. Touches no record. */
import type { Command } from 'commander'
import { loadRecords } from '../config.ts'
import { openStore, surveyStore } from '../records/open.ts'

export function addMigrate(program: Command): void {
  program
    .command('migrate')
    .description(
      'bring the store to the schema of this version, which the first process would else do at its start; ' +
        'done again, it changes nothing; exit code 1: the store cannot be used, and why',
    )
    .action(async () => {
      try {
        const { store } = loadRecords()
        await (await openStore(store)).close()
        console.log(await surveyStore(store))
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error))
        process.exitCode = 1
      }
    })
}
