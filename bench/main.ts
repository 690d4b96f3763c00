/** `npm run bench -- [predictions|production|chaos|modelserver|validation] [options]`: figures beside their floor. */
import { parseArgs } from 'node:util'
import { type Bench, report } from './report.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    seconds: { type: 'string', default: '600' },
    rate: { type: 'string', default: '40' },
    only: { type: 'string' },
  },
})
const { quick } = values

// What a bench has started ends with it, see processes.ts.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const benches: Record<string, () => Promise<Bench>> = {
  predictions: async () => ({ rows: await (await import('./predictions.ts')).benchPredictions({ quick }) }),
  production: async () => ({ rows: await (await import('./production.ts')).benchProduction({ quick }) }),
  chaos: async () =>
    (await import('./chaos.ts')).benchChaos({
      seconds: positive('seconds'),
      rate: positive('rate'),
      ...(values.only !== undefined && { only: values.only }),
    }),
  modelserver: async () => ({ rows: await (await import('./modelserver.ts')).benchModelserver({ quick }) }),
  validation: async () => ({ rows: await (await import('./validation.ts')).benchValidation({ quick }) }),
}

const name = positionals[0] ?? 'predictions'
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined
if (bench === undefined) fail(`unknown "${name}"; known: ${Object.keys(benches).join(', ')}`)
const found = await bench()
report(name, found, values.json)
process.exit((found.broken ?? []).length > 0 ? 1 : 0)

function positive(option: 'seconds' | 'rate'): number {
  const number = Number(values[option])
  return number > 0 ? number : fail(`--${option} takes a number above 0`)
}

function fail(why: string): never {
  console.error(`bench: ${why}`)
  process.exit(2)
}
