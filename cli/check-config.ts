/**
 * `perdure check-config`: reads the environment as a process would and says every fault; else shows the settings and
 * asks whether Temporal, store and platforms can be reached. Starts nothing, changes nothing.
 */
import { type Command, Option } from 'commander'
import { ConfigError, loadApi, loadRecords, loadServe, loadStart, loadWorker, Secret } from '../config.ts'
import type { Verdict } from '../reach.ts'

const loaders = {
  api: loadApi,
  worker: loadWorker,
  records: loadRecords,
  serve: loadServe,
  start: loadStart,
} as const

interface Options {
  for: keyof typeof loaders
  json?: boolean
  offline?: boolean
}

const faultCode = 1
const unreachableCode = 3

export function addCheckConfig(program: Command): void {
  program
    .command('check-config')
    .description(
      'check the environment and app.env, show the settings, ask whether what they name can be reached; ' +
        'exit code 1: faults, one line each; 3: something cannot be reached',
    )
    .addOption(new Option('--for <process>', 'whose settings').choices(Object.keys(loaders)).default('api'))
    .option('--offline', 'only the settings; reach nothing')
    .option('--json', 'print the settings as JSON; secrets as ***')
    .action(checkConfig)
}

async function checkConfig(options: Options): Promise<void> {
  const settings = readSettings(options.for)
  if (settings === undefined) return
  const { warnings, ...shownSettings } = settings
  const verdicts = options.offline ? [] : await verdictsOn(settings)
  const shown = shownOf(shownSettings)
  if (options.json) console.log(JSON.stringify({ ...shown, warnings, reached: verdicts }, null, 2))
  else for (const line of [...linesOf(shown), ...tableOf(verdicts)]) console.log(line)
  for (const warning of warnings) console.error(`warning: ${warning}`)
  if (verdicts.some(({ ok }) => !ok)) process.exitCode = unreachableCode
  else if (!options.json) console.log(`the settings of ${options.for} are fine`)
}

async function verdictsOn(settings: NonNullable<ReturnType<typeof readSettings>>): Promise<Verdict[]> {
  // A model server needs nobody.
  if (!('store' in settings)) return []
  // The other commands do not load Temporal's client.
  const { reachAll } = await import('../reach.ts')
  return reachAll(settings)
}

function readSettings(process_: keyof typeof loaders) {
  try {
    return loaders[process_]()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exitCode = faultCode
    return undefined
  }
}

type Shown = string | number | boolean | null | Shown[] | { [key: string]: Shown }

/** Secrets as `***`; so are certificates and keys, which are bytes. */
function shownOf(settings: object): { [key: string]: Shown } {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([key, value]): [string, Shown][] =>
      value === undefined ? [] : [[key, shownValue(value)]],
    ),
  )
}

function shownValue(value: unknown): Shown {
  if (value instanceof Secret) return value.given ? '***' : ''
  if (value instanceof Uint8Array) return '***'
  if (Array.isArray(value)) return value.map(shownValue)
  if (typeof value === 'object' && value !== null) return shownOf(value)
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? value : String(value)
}

/** `store.kind = sqlite`, one line for each value. */
function linesOf(shown: { [key: string]: Shown }, path = ''): string[] {
  return Object.entries(shown).flatMap(([key, value]) => {
    const name = `${path}${key}`
    const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (isGroup) return linesOf(value, `${name}.`)
    return [`${name} = ${Array.isArray(value) ? value.join(', ') : value}`]
  })
}

function tableOf(verdicts: readonly Verdict[]): string[] {
  return verdicts.map(({ what, ok, words }) => `${what}: ${ok ? 'ok' : 'not ok'}, ${words}`)
}
