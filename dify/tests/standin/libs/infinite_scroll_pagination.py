class InfiniteScrollPagination:
    def __init__(self, data, limit, has_more):
        self.data, self.limit, self.has_more = data, limit, has_more
