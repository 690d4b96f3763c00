/** The smallest workflow that makes one platform call: what every prediction would cost without flights. */
import { proxyLocalActivities } from '@temporalio/workflow'

const { call } = proxyLocalActivities<{ call(id: string): Promise<void> }>({
  startToCloseTimeout: '1 minute',
})

export async function bare(id: string): Promise<void> {
  await call(id)
}
