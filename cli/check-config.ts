/** `perdure check-config`: reads the environment as a process would and says every fault, or shows the settings. */
import { type Command, Option } from 'commander'
import { ConfigError, loadApi, loadRecords, loadServe, loadStart, loadWorker } from '../config.ts'

const loaders = {
  api: loadApi,
  worker: loadWorker,
  records: loadRecords,
  serve: loadServe,
  start: loadStart,
} as const

export function addCheckConfig(program: Command): void {
  program
    .command('check-config')
    .description('check the environment and app.env; exit code 1 and one line per fault')
    .addOption(new Option('--for <process>', 'whose settings').choices(Object.keys(loaders)).default('api'))
    .option('--json', 'print the settings as JSON; secrets as ***')
    .action((options: { for: keyof typeof loaders; json?: boolean }) => {
      try {
        const settings = loaders[options.for]()
        if (options.json) console.log(JSON.stringify(settings, null, 2))
        for (const warning of settings.warnings) console.error(`warning: ${warning}`)
        if (!options.json) console.log(`the settings of ${options.for} are fine`)
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        console.error(error.message)
        process.exitCode = 1
      }
    })
}
