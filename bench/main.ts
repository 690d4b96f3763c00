/** `npm run bench -- [predictions|modelserver|validation] [--quick] [--json FILE]`: figures beside their floor. */
import { parseArgs } from 'node:util'
import { report } from './report.ts'

const benches: Record<string, (options: { quick: boolean }) => Promise<Parameters<typeof report>[1]>> = {
  predictions: async (options) => (await import('./predictions.ts')).benchPredictions(options),
  modelserver: async (options) => (await import('./modelserver.ts')).benchModelserver(options),
  validation: async (options) => (await import('./validation.ts')).benchValidation(options),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } },
})
const name = positionals[0] ?? 'predictions'
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined
if (bench === undefined) {
  console.error(`bench: unknown "${name}"; known: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}
report(name, await bench({ quick: values.quick }), values.json)
process.exit(0)
