/** The secrets that sign user webhooks: those of the settings, else one made once and kept in the data folder. */
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface SecretSettings {
  secrets: readonly { reveal(): string }[]
  dataDir: string
}

const fileName = 'webhook-secret'

/** `whsec_…`, the newest first. Throws an `Error` of one line when the data folder cannot be used. */
export function webhookSecrets({ secrets, dataDir }: SecretSettings): readonly { reveal(): string }[] {
  if (secrets.length > 0) return secrets
  const file = join(dataDir, fileName)
  if (!existsSync(file)) makeFile(dataDir, file)
  const text = readFileSync(file, 'utf8').trim()
  return [{ reveal: () => text }]
}

function makeFile(dataDir: string, file: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    // Of several processes that start together the first one's stays, whole.
    const own = `${file}.${process.pid}`
    writeFileSync(own, `whsec_${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
    try {
      linkSync(own, file)
    } finally {
      rmSync(own)
    }
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    if (!isThere) throw new Error(`The webhook secret cannot be kept in ${dataDir}`, { cause: error })
  }
}
