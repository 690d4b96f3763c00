/** Registers the search attributes of flights where this worker may; one warning with the command where it may not. */
import type { NativeConnection } from '@temporalio/worker'
import { searchAttributes } from '../contracts/flights.ts'

/** Value types of the server's API (`IndexedValueType`). */
const keyword = 2
const int = 3
const keywordList = 7

const wanted = {
  [searchAttributes.modelName]: keywordList,
  [searchAttributes.platform]: keywordList,
  [searchAttributes.taskStatus]: keyword,
  [searchAttributes.flightSize]: int,
}

/** The command for an operator who registers them by hand. */
export function registerCommand(namespace: string): string {
  return (
    `temporal operator search-attribute create --namespace ${namespace} ` +
    '--name ModelName --type KeywordList --name Platform --type KeywordList ' +
    '--name TaskStatus --type Keyword --name FlightSize --type Int'
  )
}

export async function registerSearchAttributes(
  connection: NativeConnection,
  namespace: string,
  warn: (text: string) => void,
): Promise<void> {
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace })
    const missing = Object.entries(wanted).filter(([name]) => !(name in (customAttributes ?? {})))
    if (missing.length === 0) return
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing),
    })
  } catch {
    warn(`search attributes are not registered; an operator may run: ${registerCommand(namespace)}`)
  }
}
