"""Real runs of two applications on partitions that really differ: made and recorded by `record`, read by `stream`."""
