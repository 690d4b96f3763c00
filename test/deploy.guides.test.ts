/** The pages for those who run Perdure: they name only keys and files that exist, and every key of the predecessor. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { keys } from '../config.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const pages = ['docs/operations.md', 'docs/migrating.md', 'docs/upgrading.md']
const read = (page: string) => readFileSync(`${root}${page}`, 'utf8')

/** Keys of the predecessor and its record service (prediction-agent specification, section 6). */
const predecessor = [
  ...['ENVIRONMENT', 'HTTP_SERVER_ADDRESS', 'ML_PLATFORM', 'UPLOAD_WEBHOOK_ADDRESS', 'REDIS_ADDRESS'],
  ...['REDIS_CLUSTER_MODE', 'USE_LOCAL_REDIS', 'SHUTDOWN_DELAY', 'ENABLE_PERIODIC_CHECK'],
  ...['WORKER_CONCURRENCY', 'MAX_QUEUE_SIZE', 'TASK_TYPE_NAME', 'TASK_TIMEOUT', 'MODEL_NAME'],
  ...['WEBHOOK_SERVER_ADDRESS', 'WEBHOOK_APIKEY', 'KSERVE_VERSION', 'KSERVE_ADDRESS'],
  ...['KSERVE_CUSTOM_DOMAIN', 'KSERVE_NAMESPACE', 'KSERVE_REQUEST_TIMEOUT', 'REPLICATE_ADDRESS'],
  ...['REPLICATE_APIKEY', 'REPLICATE_MODEL_ID', 'REPLICATE_REQUEST_TIMEOUT', 'RUNPOD_ADDRESS'],
  ...['RUNPOD_APIKEY', 'RUNPOD_MODEL_ID', 'RUNPOD_REQUEST_TIMEOUT', 'K8SPLUGIN_ADDRESS'],
  ...['K8SPLUGIN_REQUEST_TIMEOUT', 'SECRET_APIKEY', 'REDIS_KEY_DURATION', 'DB_SOURCE', 'MIGRATION_URL'],
]
/** Variables of compose, of the image's build and of other programs. */
const others = [
  ...['POSTGRES_PASSWORD', 'GRAFANA_PASSWORD', 'BASE_IMAGE', 'NUM_HISTORY_SHARDS'],
  ...['API_PORT', 'RECORDS_PORT', 'TEMPORAL_UI_PORT', 'PROMETHEUS_PORT', 'GRAFANA_PORT'],
]

describe.each(pages)('%s', (page) => {
  test('names only keys that exist or existed', () => {
    const named = [...read(page).matchAll(/`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`/g)].map(([, key = '']) => key)
    expect([...new Set(named)].filter((key) => !known(key))).toEqual([])
  })

  test('links to pages that are there, and names files that are there', () => {
    const text = read(page)
    const links = [...text.matchAll(/\]\(([a-z-]+\.md)\)/g)].map(([, file]) => `docs/${file}`)
    const files = [...text.matchAll(/`(deploy\/[\w./-]+)`/g)].map(([, file = '']) => file)
    for (const file of [...links, ...files]) expect(existsSync(`${root}${file}`), file).toBe(true)
  })
})

test('the migration guide has a line for every key of the predecessor', () => {
  const rows = read('docs/migrating.md')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|')[1] ?? '')
    .join(' ')
  for (const key of predecessor) expect(rows).toContain(`\`${key}\``)
})

function known(key: string): boolean {
  return Object.hasOwn(keys, key) || predecessor.includes(key) || others.includes(key)
}
