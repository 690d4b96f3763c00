/** The model server as a process: `node modelserver/main.ts <module.ts>`. Reads flags and environment; flags win. */

import { parseArgs } from 'node:util'
import { type ServeOptions, serve } from './serve.ts'

export { type ServeOptions, serve }

const usage = `usage: main.ts <module.ts or its folder> [--host 127.0.0.1] [--port 0] [--name <route key>] [--model-path <path>]
  [--protocol v2|oip|v1] [--background] [--grace-ms 8000]
environment: HOST, PORT, MODEL_NAME, MODEL_BASE_PATH
`

/** Options from the command line and the environment. Throws on an unknown flag or a bad number. */
export function launchOptions(
  args: string[],
  env: Record<string, string | undefined>,
): ServeOptions | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      host: { type: 'string' },
      port: { type: 'string' },
      name: { type: 'string' },
      'model-path': { type: 'string' },
      protocol: { type: 'string' },
      background: { type: 'boolean' },
      'grace-ms': { type: 'string' },
    },
  })
  const [module] = positionals
  if (module === undefined || positionals.length > 1) return undefined
  const name = values.name ?? (env.MODEL_NAME || undefined)
  const modelPath = values['model-path'] ?? (env.MODEL_BASE_PATH || undefined)
  const graceMs = values['grace-ms']
  return {
    module,
    host: values.host ?? (env.HOST || '127.0.0.1'),
    port: wholeNumber('port', values.port ?? (env.PORT || '0'), 65_535),
    ...(name === undefined ? {} : { name }),
    ...(modelPath === undefined ? {} : { modelPath }),
    ...(graceMs === undefined ? {} : { gracePeriodMs: wholeNumber('grace-ms', graceMs, 3_600_000) }),
    server: {
      ...(values.protocol === undefined ? {} : { protocol: values.protocol }),
      loadMode: values.background === true ? 'async' : 'sync',
    },
  }
}

function wholeNumber(name: string, text: string, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value > most)
    throw new Error(`${name} must be a whole number up to ${most}, got ${text}`)
  return value
}

/** The program: serves until it is told to stop; the exit code. */
export async function runModelServer(args: readonly string[]): Promise<number> {
  let options: ServeOptions | undefined
  try {
    // biome-ignore lint/style/noProcessEnv: an entry point of the published library, which has no part in config.ts
    options = launchOptions([...args], process.env)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  }
  if (options !== undefined) return serve(options)
  process.stderr.write(usage)
  return 2
}

// The process ends even if a model left a timer or a socket behind.
if (import.meta.main) process.exit(await runModelServer(process.argv.slice(2)))
