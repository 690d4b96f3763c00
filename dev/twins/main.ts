/** Runs one provider twin by itself: `perdure twin replicate|runpod`. Owns options and output; the twins own the rest. */
import { readFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { parse } from 'yaml'
import { Scenario } from './job.ts'
import { startReplicateTwin } from './replicate.ts'
import { startRunpodTwin } from './runpod.ts'
import type { TwinServer } from './server.ts'

export const twinNames = ['replicate', 'runpod'] as const
export type TwinName = (typeof twinNames)[number]

export interface TwinOptions {
  host?: string
  port?: number
  apiKey?: string
  /** What becomes of jobs whose `input.twin` says nothing. */
  scenario?: Scenario
}

export interface RunningTwin extends TwinServer {
  /** Environment that points Perdure at the twin. */
  settings: Readonly<Record<string, string>>
}

export async function startTwin(name: TwinName, options: TwinOptions = {}): Promise<RunningTwin> {
  const key = options.apiKey ?? 'any-key'
  if (name === 'replicate') {
    const twin = await startReplicateTwin(options)
    const settings = { ML_PLATFORM: name, REPLICATE_ADDRESS: twin.createUrl, REPLICATE_APIKEY: key }
    return { ...twin, settings }
  }
  const twin = await startRunpodTwin(options)
  const settings = {
    ML_PLATFORM: name,
    RUNPOD_ADDRESS: twin.baseUrl,
    RUNPOD_APIKEY: key,
    RUNPOD_MODEL_ID: 'twin',
  }
  return { ...twin, settings }
}

const usage =
  'usage: perdure twin replicate|runpod [--port 8090] [--host 127.0.0.1] [--key KEY] [--scenario FILE]'

/** The command: prints the settings to paste, runs until a signal; exit code 2 for wrong usage. */
export async function runTwin(args: readonly string[]): Promise<number> {
  const started = await begin(args)
  if (typeof started === 'string') {
    process.stderr.write(`${started}\n${usage}\n`)
    return 2
  }
  for (const [name, value] of Object.entries(started.settings)) process.stdout.write(`${name}=${value}\n`)
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
  await started.close()
  return 0
}

async function begin(args: readonly string[]): Promise<RunningTwin | string> {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        port: { type: 'string', default: '8090' },
        host: { type: 'string', default: '127.0.0.1' },
        key: { type: 'string' },
        scenario: { type: 'string' },
      },
    })
    const name = twinNames.find((each) => each === positionals[0])
    if (name === undefined || positionals.length > 1) return `no twin is called "${positionals.join(' ')}"`
    const port = Number(values.port)
    if (!Number.isInteger(port) || port < 0 || port > 65_535) return `--port: "${values.port}" is not a port`
    return await startTwin(name, {
      host: values.host,
      port,
      ...(values.key === undefined ? {} : { apiKey: values.key }),
      ...(values.scenario === undefined ? {} : { scenario: await readScenario(values.scenario) }),
    })
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** YAML or JSON. */
async function readScenario(path: string): Promise<Scenario> {
  const read = Scenario.safeParse(parse(await readFile(path, 'utf8')))
  if (read.success) return read.data as Scenario
  const faults = read.error.issues.map(({ path: at, message }) => `${at.join('.') || 'file'}: ${message}`)
  throw new Error(`--scenario: ${faults.join('; ')}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exit(await runTwin(process.argv.slice(2)))
}
